"""Faults in how layers are written to files and read."""

from mutants.harness import edit
from mutants.specs import CP

TENSORS = "checkpoints.tensor_file"
CERTIFICATES = "checkpoints/test_certificates.py"
CORRUPTED = "checkpoints/test_corrupted.py"
FILES = "checkpoints/test_files.py"
REFUSALS = "checkpoints/test_refusals.py"
TRIPS = "checkpoints/test_round_trips.py"
PUBLISHED = "checkpoints/test_published.py"

MUTANTS = [
    edit(
        "the checksum is not compared",
        f"{TENSORS}:_unpack",
        "!= noted",
        "!= noted and False",
        CP,
        f"{REFUSALS}::test_tensors_that_change_places_are_noticed",
    ),
    edit(
        "the checksum is only of the header",
        f"{TENSORS}:_compute_checksum",
        "for chunk in chunks:",
        "for chunk in ():",
        CP,
        f"{CORRUPTED}::test_every_bit_of_a_weight_counts",
    ),
    edit(
        "tensors may leave gaps in a file",
        f"{TENSORS}:_check_places",
        "entry.start != end",
        "entry.start < end",
        CP,
        f"{REFUSALS}::test_a_forged_header_is_refused_with_a_reason",
    ),
    edit(
        "a shape need not fit its bytes",
        f"{TENSORS}:_read_entry",
        "end - start != prod(shape) * _TYPES[code][1] or ",
        "",
        CP,
        f"{CORRUPTED}::test_declared_sizes_cost_no_memory",
    ),
    edit(
        "a header may be as long as the file",
        f"{TENSORS}:_read_header",
        "not _is_short(length, rest)",
        "False",
        CP,
        f"{CORRUPTED}::test_a_header_costs_at_most_32_mib_beside_the_tensors",
    ),
    edit(
        "a file is written that cannot be read",
        f"{TENSORS}:pack",
        "not _is_short(len(text), end)",
        "False",
        CP,
        f"{CORRUPTED}::test_layers_with_more_names_than_values_are_saved_up_to_a_size",
    ),
    edit(
        "a newer format of files is read",
        f"{TENSORS}:_read_metadata",
        "number != str(FORMAT)",
        "False",
        CP,
        f"{REFUSALS}::test_a_forged_header_is_refused_with_a_reason",
    ),
    edit(
        "tensors that are not asked for are passed over",
        "checkpoints.loading:_check",
        '("unknown", tensors.keys() - wanted.keys())',
        '("unknown", {*()})',
        CP,
        f"{REFUSALS}::test_a_tensor_more_or_in_another_layer_is_unknown",
    ),
    edit(
        "shapes in files are not compared with the specification",
        "checkpoints.loading:_check",
        "tensors[name].shape != shape",
        "len(tensors[name].shape) != len(shape)",
        CP,
        f"{REFUSALS}::test_a_forged_header_is_refused_with_a_reason",
    ),
    edit(
        "a file is written in place",
        "checkpoints.files:write_file",
        'os.path.join(folder, f".tensormoe-{secrets.token_hex(8)}")',
        "target",
        CP,
        f"{FILES}::test_a_full_disk_leaves_the_old_file",
    ),
    edit(
        "a link is replaced by a file",
        "checkpoints.files:write_file",
        "os.path.realpath(path)",
        "os.path.abspath(path)",
        CP,
        f"{FILES}::test_a_link_goes_on_pointing_to_the_file",
    ),
    edit(
        "an old file's permissions are lost",
        "checkpoints.files:write_file",
        "if mode is not None:",
        "if False:",
        CP,
        f"{FILES}::test_a_file_keeps_its_permissions",
    ),
    edit(
        "modules share the arrays that they are built from",
        "layers.building:restore",
        "module.from_arrays(spec, arrays, **options)",
        "module.from_arrays(spec, arrays, **{'copy': False, **options})",
        CP,
        f"{TRIPS}::test_modules_built_from_the_same_arrays_share_none[numpy]",
    ),
    edit(
        "a published ring's ranks are those that leave its cores",
        "checkpoints.published:_read_factors",
        "tuple(shape[0] for shape in shapes)",
        "tuple(shape[2] for shape in shapes)",
        CP,
        f"{PUBLISHED}::test_what_wrappers_put_in_front_is_left_out",
    ),
    edit(
        "any file passes for a certificate",
        "checkpoints.certificates:_find_fault",
        '"" if sha256(file.read()).hexdigest() == digest',
        '"" if len(sha256(file.read()).hexdigest()) == len(digest)',
        CP,
        f"{CERTIFICATES}::test_any_other_file_is_told_from_the_certificate",
    ),
    edit(
        "a certificate may be of another program",
        "checkpoints.certificates:_compare",
        '_hash_program(programs[stage, least]) != rest.get("program")',
        "False",
        CP,
        f"{CERTIFICATES}::test_a_certificate_of_another_specification_or_program_is_refused",
    ),
    edit(
        "a file of layers names certificates anywhere",
        "checkpoints.certificates:_compare",
        "os.path.basename(name)",
        "name",
        CP,
        f"{CERTIFICATES}::test_certificates_lie_beside_the_file_whatever_it_says",
    ),
]
