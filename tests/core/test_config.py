import math
import os
from dataclasses import replace

import pytest

from mlrpl_cli.core.config import TrainConfig, given_options, make_config, split_method, write_yaml
from mlrpl_cli.core.io.errors import ConfigError


def test_flags_override_the_file_and_the_file_overrides_defaults(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("epochs: 5\nlr: 1e-3\nmethod: baseline\n")
    config = make_config(file, {"epochs": 7, "seed": None})
    assert (config.epochs, config.lr, config.method, config.seed) == (7, 1e-3, "baseline", 0)


def test_zero_is_given_and_none_is_not():
    assert make_config(flags={"seed": 0, "views": 0, "lr": None}) == TrainConfig(views=0)


def test_a_written_configuration_reads_back_the_same(tmp_path):
    config = TrainConfig(epochs=3, context_template="a photo of a", attention_width=16)
    write_yaml(config, tmp_path / "config.yaml")
    assert make_config(tmp_path / "config.yaml") == config


def test_all_errors_come_at_once(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("epoch: 5\nlr: fast\n")
    with pytest.raises(ConfigError) as error:
        make_config(file, {"batch_size": 0, "epochs": 1.5})
    assert str(error.value).split("; ") == [
        "unknown option 'epoch'",
        "did you mean 'epochs'?",
        "epochs: expected a whole number from 1 to 100000, got 1.5",
        "batch_size: expected a whole number from 1 to 1000000, got 0",
        "lr: expected a number from 0 to 10, got 'fast'",
    ]


def test_an_option_takes_its_range_and_is_told_it():
    """Beyond 2^32, beyond what a float holds, and beyond what Python writes out."""
    for seed in (2**32, 10**400, -1, True, "1.5"):
        with pytest.raises(ConfigError, match=r"^seed: expected a whole number from 0 to 4294967295, got "):
            make_config(flags={"seed": seed})
    assert make_config(flags={"seed": "4294967295", "cache_gib": math.inf}).seed == 2**32 - 1
    for name, value in {"lr": math.nan, "device": "tpu", "cache_gib": -1, "views": False}.items():
        with pytest.raises(ConfigError, match=rf"^{name}: expected (a|one of) "):
            replace(TrainConfig(), **{name: value})


def test_an_option_that_there_is_not_is_refused_in_python_too():
    with pytest.raises(ConfigError, match="unknown option 'epoch'; did you mean 'epochs'"):
        TrainConfig(epoch=5)


def test_a_path_need_not_be_utf_8(tmp_path):
    assert make_config(flags={"data": "a\udcff"}).data == "a\udcff"


def test_assignments_are_read_as_yaml_values():
    assert given_options(["epochs=5", "loss=bce", "image_size=null"]) == {
        "epochs": 5,
        "loss": "bce",
        "image_size": None,
    }
    with pytest.raises(ConfigError, match=r"--set epochs: expected key=value, such as epochs=5"):
        given_options(["epochs"])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("- epochs\n", "expected lines of key: value, got a list"),
        ("epochs: [\n", "cannot read the configuration"),
        ("!!python/object/apply:os.system ['true']\n", "cannot read the configuration"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, content, sentence):
    file = tmp_path / "config.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=sentence):
        make_config(file)


def _refused(tmp_path, content):
    file = tmp_path / "config.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError) as error:
        make_config(file)
    assert len(str(error.value)) < 5000
    return str(error.value)


def test_aliases_and_tags_are_refused_before_anything_grows(tmp_path):
    """Ten levels of nine aliases would be nine to the tenth values, three thousand million."""
    bomb = "a0: &a0 x\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 11))
    for content in (bomb, "data: &a [*a]\n", "<<: [*a, *a]\n", "epochs: !!int ''\n", "epochs: !!timestamp x\n"):
        assert "cannot read the configuration" in _refused(tmp_path, content)
    assert "expected plain values, got a YAML alias or tag; write the value out" in _refused(tmp_path, bomb)


def test_depth_length_and_size_have_a_limit(tmp_path):
    assert "expected at most 20 levels of nesting" in _refused(tmp_path, "epochs: " + "[" * 20_000)
    assert "expected values of at most 4096 characters" in _refused(tmp_path, "epochs: 1" + ":1" * 20_000)
    assert "expected at most 65536; check that it is the right file" in _refused(tmp_path, "#" * 70_000)


@pytest.mark.parametrize("value", ["[a]", "{a: b}", "2001-01-01", "true", '"a\\0b"', '"\\ud800"', "a" * 2001])
def test_text_options_take_text_that_a_path_or_a_file_can_hold(tmp_path, value):
    assert "data: expected text, got " in _refused(tmp_path, f"data: {value}\n")


def test_numbers_and_paths_may_be_meant_as_text(tmp_path):
    config = make_config(flags={"run": 2024, "glove": tmp_path / "glove.txt"})
    assert (config.run, config.glove) == ("2024", str(tmp_path / "glove.txt"))


def test_a_number_of_thousands_of_digits_is_told_without_them(tmp_path):
    for content in ("epochs: 0x" + "f" * 4000, "? 0x" + "f" * 4000 + "\n: 1"):
        assert "a number of thousands of digits" in _refused(tmp_path, content)


def test_advice_is_given_for_the_first_unknown_options(tmp_path):
    message = _refused(tmp_path, "".join(f"option{n}: 1\n" for n in range(3000)))
    assert "unknown option 'option9'" in message
    assert "unknown option 'option10'" not in message
    assert message.endswith("; 2990 more unknown options")


def test_a_pipe_is_no_configuration(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is a folder, a pipe or a device"):
        make_config(tmp_path / "pipe")


def test_an_assignment_that_is_no_plain_yaml_is_text():
    texts = {"glove": "*a", "cache": "!!int ''", "run": "[" * 30, "data": "[x"}
    assert given_options([f"{key}={value}" for key, value in texts.items()]) == texts


def test_a_method_is_written_with_its_options_wherever_it_is_named(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("method: sa\nmethod_options: {attention_temperature: 0.2}\n")
    written = "sa:attention_temperature=0.2"
    assert make_config(file) == make_config(flags={"method": written}) == TrainConfig(method=written)
    write_yaml(TrainConfig(method=written), file)
    assert make_config(file).method_options == {"attention_temperature": 0.2}
    # Another method on the command line does not inherit the options of the file's.
    assert make_config(file, {"method": "sarl"}).method_options == {}
    assert make_config(file, {"method": "sa:attention_temperature=3"}).method_options == {"attention_temperature": 3}


def test_the_values_of_a_methods_options_are_scalars_of_yaml():
    name, options = split_method("x: a=1, b=1.5e-3,c=true,d=word,e=[1]")
    assert (name, options) == ("x", {"a": 1, "b": 1.5e-3, "c": True, "d": "word", "e": "[1]"})
    assert split_method("x") == ("x", {})


@pytest.mark.parametrize("written", ["sa:", "sa:x", "sa:=1", "sa:x=", "sa:x=1,,y=2"])
def test_a_method_that_is_written_otherwise_is_told(written):
    with pytest.raises(ConfigError, match=r"^method: expected NAME or NAME:option=value,option=value, got "):
        make_config(flags={"method": written})
