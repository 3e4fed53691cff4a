import pytest

from mlrpl_cli.core.config import TrainConfig, make_config, parse_assignments, write_yaml
from mlrpl_cli.core.errors import ConfigError


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
        "lr: expected a number, got 'fast'",
        "epochs: expected a whole number, got 1.5",
        "batch_size: expected a number from 1 to 1e+06, got 0",
    ]


def test_glove_needs_its_file():
    with pytest.raises(ConfigError, match="semantics glove needs glove, the path of a GloVe text file"):
        make_config(flags={"semantics": "glove"})


def test_assignments_are_read_as_yaml_values():
    assert parse_assignments(["epochs=5", "loss=bce", "image_size=null"]) == {
        "epochs": 5,
        "loss": "bce",
        "image_size": None,
    }
    with pytest.raises(ConfigError, match=r"--set epochs: expected key=value, such as epochs=5"):
        parse_assignments(["epochs"])


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
