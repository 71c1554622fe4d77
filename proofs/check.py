"""Check the theorems in this folder with Coq, and what they assume: `python proofs/check.py [FOLDER]`.

Files are compiled in the order of `_CoqProject`, in a temporary folder. Then Coq is asked what the theorems
rest on. Whatever is not an axiom of its real numbers is an error. A proof left out (`Admitted`) is an axiom.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

# What Coq's standard library takes for granted to build the real numbers.
REALS = {
    "ClassicalDedekindReals.sig_forall_dec",
    "ClassicalDedekindReals.sig_not_dec",
    "FunctionalExtensionality.functional_extensionality_dep",
}
# It proves with the excluded middle that logarithms exist, and defines real powers by these.
WITH_POWERS = {"entmax"}
EXCLUDED_MIDDLE = "Classical_Prop.classic"


def files(folder: Path) -> list[str]:
    """The names of the files, each after those that it uses."""
    return re.findall(r"^(\w+)\.v$", (folder / "_CoqProject").read_text(encoding="utf-8"), re.MULTILINE)


def claims(folder: Path, name: str) -> list[str]:
    """The theorems and lemmas of a file, in full."""
    text = (folder / f"{name}.v").read_text(encoding="utf-8")
    return [f"@{name}.{each}" for each in re.findall(r"^(?:Theorem|Lemma) (\w+)", text, re.MULTILINE)]


def compile_file(folder: Path, name: str) -> str:
    """What Coq prints when it checks one file."""
    command = ["coqc", "-q", "-Q", ".", "TensorMoE", f"{name}.v"]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        sys.exit(f"{name}.v: Coq refuses it\n{done.stdout}{done.stderr}")
    return done.stdout


def check(folder: Path, names: list[str]) -> None:
    """Have Coq check the files, in a folder of their own, and say what all that is proved there assumes."""
    with TemporaryDirectory() as copy:
        work = Path(copy)
        for name in names:
            shutil.copy(folder / f"{name}.v", work)
            compile_file(work, name)
            print(f"{name}.v: {len(claims(folder, name))} theorems and lemmas")
        powers = [name for name in names if name in WITH_POWERS]
        ask(work, [name for name in names if name not in powers], REALS)
        if powers:
            ask(work, powers, REALS | {EXCLUDED_MIDDLE})


def ask(folder: Path, names: list[str], allowed: set[str]) -> None:
    """Ask Coq what the files assume, all together: to follow all proofs into the library takes a second."""
    everything = ", ".join(["I", "I", *(claim for name in names for claim in claims(folder, name))])
    question = f"From TensorMoE Require {' '.join(names)}.\n"
    question += f"Definition everything := ({everything}).\nPrint Assumptions everything.\n"
    (folder / "question.v").write_text(question, encoding="utf-8")
    printed = compile_file(folder, "question")
    axioms = set(re.findall(r"^([\w.]+)(?= :|$)", printed.partition("Axioms:\n")[2], re.MULTILINE))
    if not axioms and printed.strip() != "Closed under the global context":
        sys.exit(f"Coq's answer is not understood\n{printed}")
    print(f"{', '.join(names)} assume", *sorted(axioms) or ["nothing"], sep="\n  ")
    if axioms - allowed:
        sys.exit("\n  ".join(["These may not be assumed:", *sorted(axioms - allowed)]))


def main() -> None:
    """Check the folder that the command line names, this one by default."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    names = files(folder)
    if left_out := {path.stem for path in folder.glob("*.v")} - set(names):
        sys.exit(f"_CoqProject lacks {', '.join(sorted(left_out))}")
    if shutil.which("coqc") is None:
        sys.exit("coqc is not installed: `make coq` installs Coq from the system's packages")
    check(folder, names)


if __name__ == "__main__":
    main()
