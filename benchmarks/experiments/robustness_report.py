"""x"""


def report(configuration, results):
    raise NotImplementedError
