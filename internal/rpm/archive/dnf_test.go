package archive

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/rpm/rpmtest"
)

// dnfScript loads a repository once and resolves a line of targets after the other into an empty root.
const dnfScript = `
import os, sys, dnf
work, repo = sys.argv[1:]
os.mkdir(work + "/log")
base = dnf.Base()
base.conf.installroot = work + "/root"
base.conf.cachedir = work + "/cache"
base.conf.persistdir = work + "/persist"
base.conf.logdir = work + "/log"
base.conf.substitutions["releasever"] = "6"
base.conf.ignorearch = True
base.repos.add_new_repo("r", base.conf, baseurl=["file://" + repo])
base.fill_sack(load_system_repo=False)
for line in sys.stdin:
    base.reset(goal=True)
    try:
        for target in line.split():
            base.install(target)
        base.resolve()
        print(" ".join(sorted(str(p.name) + "-" + str(p.epoch) + ":" + p.version + "-" + p.release + "." + p.arch
            for p in base.transaction.install_set)))
    except dnf.exceptions.Error as e:
        print("error", str(e).replace("\n", " "))
`

// TestAgainstDNF lets dnf resolve random targets of the same metadata.
func TestAgainstDNF(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	const python = "/usr/bin/python3" // the one that Debian's dnf has its module for
	if out, err := exec.Command(python, "-c", "import dnf").CombinedOutput(); err != nil {
		t.Skipf("dnf is not installed: %v\n%s", err, out)
	}
	repo := rpmtest.EL6(t, "reconstructed-6.8-docker")
	records := rebuilt(t).records
	r := rand.New(rand.NewPCG(6, 8))
	targets := make([]string, 50)
	for i := range targets {
		var names []string
		for range 1 + r.IntN(3) {
			names = append(names, records[r.IntN(len(records))].name)
		}
		targets[i] = strings.Join(names, " ")
	}
	cmd := exec.Command(python, "-c", dnfScript, t.TempDir(), repo)
	cmd.Stdin = strings.NewReader(strings.Join(targets, "\n") + "\n")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dnf: %v", err)
	}
	answers := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(answers) != len(targets) {
		t.Fatalf("%d answers to %d questions", len(answers), len(targets))
	}
	for i, answer := range answers {
		got, _, err := chosen(t, Request{Include: strings.Fields(targets[i])})
		if err != nil {
			t.Errorf("%s: %v; dnf: %.200s", targets[i], err, answer)
			continue
		}
		want := strings.Fields(answer)
		slices.Sort(want)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-dnf +ours)\n%s", targets[i], d)
		}
	}
}
