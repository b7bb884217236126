"""Tab completion: a script a shell, which bash runs as it would at a Tab."""

import shutil
import subprocess

import pytest

from metaprobe.probe.cli import COMMANDS, main
from metaprobe.reports.registry import STUDIES


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_holds_all_commands_and_studies(shell, capsys):
    assert main(["--tyro-print-completion", shell]) == 0
    script = capsys.readouterr().out
    (spec,) = (line for line in script.splitlines() if line.startswith("COMPLETION_SPEC = "))
    found = {}
    exec(spec.replace('\\"', '"') if shell == "fish" else spec, {}, found)
    commands = found["COMPLETION_SPEC"]["subcommands"]
    assert set(commands) == set(COMMANDS)
    assert set(commands["study"]["subcommands"]) == set(STUDIES)
    options = [option for command in commands.values() for option in command["options"]]
    assert "--inner-lr" in {flag for option in options for flag in option["flags"]}
    assert not [option for option in options if "\n" in option["description"]]  # each line would be a candidate


@pytest.mark.parametrize("words", [[], ["tcsh"], ["bash", "zsh"]])
def test_a_shell_without_a_script_is_refused(words, capsys):
    assert main(["--tyro-print-completion", *words]) == 2
    told = capsys.readouterr().err
    assert "needs the name of a shell, bash, zsh, fish; got" in told and told.count("\n") == 1


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_options_and_values(capsys, tmp_path):
    assert main(["--tyro-print-completion", "bash"]) == 0
    script = tmp_path / "metaprobe.bash"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    wanted = {
        "doc": "doctor",
        "train maml --inner-": "--inner-lr --inner-steps --inner-clip",
        "train maml --schedule c": "constant cosine",
        "study ra": "raghu2020",
    }
    tries = "".join(
        f"COMP_WORDS=(metaprobe {words}); COMP_CWORD={len(words.split())}; COMPREPLY=(); _tyro_metaprobe\n"
        'echo "${COMPREPLY[*]}"\n'
        for words in wanted
    )
    done = subprocess.run(["bash", "-c", f"source {script}\n{tries}"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(wanted.values())
