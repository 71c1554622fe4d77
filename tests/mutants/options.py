"""Faults in what is written, read back and handed on: JSON and the options of every constructor."""

from mutants.harness import edit
from mutants.specs import BLOCK, CP

FIELDS = "layers/test_fields.py"
TRAVELS = f"{FIELDS}::test_a_field_is_not_lost_on_the_way"
JSON = "layers/test_serialization.py"
UNFIT = f"{JSON}::test_unfit_json_is_refused"
BUILDING = "layers/test_building.py"
BLOCKS = "layers/test_blocks.py"

SERIALIZATION = [
    edit(
        "a gate's noise is lost in JSON",
        "codec:Serializable._to_data",
        "self.arguments.items()}",
        'self.arguments.items() if name != "noise"}',
        CP,
        f"{TRAVELS}[Gate.noise]",
    ),
    edit(
        "a gate is read with the temperature 1",
        "gates.gate:Gate._from_data",
        "values = dict(data)",
        'values = {name: value for name, value in data.items() if name != "temperature"}',
        CP,
        f"{TRAVELS}[Gate.temperature]",
    ),
    edit(
        "a field that has its default is all that is read",
        "codec:Serializable._from_data",
        "for name, value in data.items()})",
        'for name, value in data.items() if name not in ("memory_limit", "momentum")})',
        CP,
        f"{TRAVELS}[MuMoESpec.memory_limit]",
    ),
    edit(
        "a router's options are not written",
        "codec:Registered.to_dict",
        "**self._to_data()}",
        '**({} if self._what == "router" else self._to_data())}',
        CP,
        f"{TRAVELS}[AdaptiveClustering.shrinkage]",
    ),
    edit(
        "a gate's router is not read",
        "gates.gate:Gate._from_data",
        'if "router" in values:',
        'if values.pop("router", None) and False:',
        CP,
        f"{TRAVELS}[Gate.router]",
    ),
    edit(
        "a gate activation's options are lost in JSON",
        "gates.activations:Activation._to_data",
        "in self.options}",
        "in self.options[:1]}",
        CP,
        f"{FIELDS}::test_every_option_of_a_gate_activation_is_heard[soft_top_k]",
    ),
    edit(
        "infinity stays text",
        "codec:decode",
        'data.keys() == {"float"}',
        "not data",
        CP,
        f"{JSON}::test_each_part_is_plain_data_of_its_own",
    ),
    edit(
        "infinity is written as Python writes it",
        "codec:encode",
        "if isfinite(value) else",
        "if value else",
        CP,
        f"{JSON}::test_each_part_is_plain_data_of_its_own",
    ),
    edit(
        "tuples return as lists",
        "codec:decode",
        "return tuple(decode(each, depth + 1) for each in data)",
        "return [decode(each, depth + 1) for each in data]",
        CP,
        f"{JSON}::test_a_router_of_a_user_travels_by_pickle_and_json",
    ),
    edit(
        "a field may occur twice",
        "codec:_unique",
        "len(set(names)) < len(names)",
        "not names",
        CP,
        UNFIT,
    ),
    edit(
        "Infinity is taken for JSON",
        "codec:_refuse",
        'raise ValueError(f"JSON has no {name}")',
        "return None",
        CP,
        UNFIT,
    ),
    edit(
        "a newer format is read",
        "codec:check_format",
        "number > FORMAT",
        "number > FORMAT + 1",
        CP,
        UNFIT,
    ),
    edit(
        "unknown fields are dropped",
        "codec:Serializable._from_data",
        "for name in data:",
        "for name in ():",
        CP,
        UNFIT,
    ),
    edit(
        "a subclass is written as its base",
        "codec:Serializable.to_dict",
        "Serializable not in type(self).__bases__",
        "False",
        CP,
        f"{JSON}::test_a_subclass_of_the_gate_is_not_written_as_a_gate",
    ),
    edit(
        "a user's class takes a built-in one's name",
        "codec:Registered.__init_subclass__",
        "known is not None and not _is_same_definition(cls, known)",
        "False",
        CP,
        f"{JSON}::test_no_class_of_a_user_takes_the_name_of_a_built_in_one",
    ),
    edit(
        "a pickle carries plans and programs",
        "layers.spec:Spec.__getstate__",
        "return self.arguments",
        "return vars(self)",
        CP,
        f"{FIELDS}::test_a_pickle_holds_no_plans",
    ),
]

OPTIONS = [
    edit(
        "every layer is built with seed 0",
        "layers.building:build",
        "seed=seed",
        "seed=seed or 0",
        CP,
        f"{BUILDING}::test_stacked_layers_differ_unless_they_share_a_seed",
    ),
    edit(
        "the options of a module are dropped",
        "layers.building:build",
        "seed=seed, **options)",
        "seed=seed)",
        CP,
        "layers/test_layer.py::test_build_takes_the_options_of_modules_and_names_others",
    ),
    edit(
        "an unknown option is not named",
        "layers.building:_check_options",
        "for option in options:",
        "for option in ():",
        CP,
        f"{BUILDING}::test_an_unknown_option_is_named",
    ),
    edit(
        "an unknown keyword is not named",
        "layers.options:check_keywords",
        "for option in options.keys() - {*known}:",
        "for option in ():",
        CP,
        f"{BUILDING}::test_a_keyword_that_a_class_does_not_take_is_named_with_the_class",
    ),
    edit(
        "a block is built without its memory limit",
        "layers.block_spec:MuMoEBlockSpec.__init__",
        "one_or_each(biases), memory_limit",
        "one_or_each(biases), None",
        BLOCK,
        f"{TRAVELS}[MuMoEBlockSpec.memory_limit]",
    ),
    edit(
        "a block's layers have no memory limit",
        "layers.block_spec:MuMoEBlockSpec._separate",
        "search, self.memory_limit",
        "search, None",
        BLOCK,
        f"{BLOCKS}::test_a_memory_limit_holds_for_both_layers",
    ),
    edit(
        "a block's second layer has a bias",
        "layers.block_spec:MuMoEBlockSpec._separate",
        "networks, biases = spread(self.factorization, count), spread(self.bias, count)",
        "networks, biases = spread(self.factorization, count), (*spread(self.bias, count)[:-1], True)",
        BLOCK,
        f"{BLOCKS}::test_what_the_layers_share_reaches_both",
    ),
    edit(
        "a path for a block's first layer is its second one's",
        "layers.block_spec:MuMoEBlockSpec.layers",
        "spread(self.optimize, len(self._sizes))",
        "spread(self.optimize, len(self._sizes))[::-1]",
        BLOCK,
        f"{BLOCKS}::test_each_layer_has_the_path_that_it_was_given",
    ),
    edit(
        "the command line ignores --no-bias",
        "arguments:_build",
        '"bias": options.bias',
        '"bias": True',
        CP,
        "cli/test_bias.py::test_a_layer_has_biases_unless_told_otherwise",
    ),
]

MUTANTS = [*SERIALIZATION, *OPTIONS]
