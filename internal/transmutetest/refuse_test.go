package transmutetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPacmanRefuses shows that keys and signatures are what they are said to be: pacman judges packages by them.
func TestPacmanRefuses(t *testing.T) {
	a, err := NewEmptyArch(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, a, "ec2")
	thing := func(name string) Small {
		return Small{Name: name, Version: "1-1", Files: map[string]string{"usr/share/" + name: name + "\n"}}
	}
	for _, test := range []struct {
		name, repository string
		signer           *Key
		spoil            func(*testing.T, *Package)
		refused          string
	}{
		{"sound", "core", nil, nil, ""},
		{"second", "core", a.Keys.Second, nil, ""},
		{"master", "extra", a.Keys.Masters[4], nil, ""},
		{"own", "ec2", nil, nil, ""},
		{"marginal", "core", a.Keys.Marginal, nil, "is marginal trust"},
		{"revoked", "core", a.Keys.Revoked, nil, "is disabled"},
		{"expired", "core", a.Keys.Expired, nil, "is unknown trust"},
		{"stranger", "extra", a.Keys.Stranger, nil, "required key missing from keyring"},
		{"unsigned", "extra", nil, func(t *testing.T, p *Package) {
			if err := a.Unsign(p); err != nil {
				t.Fatal(err)
			}
		}, "unsigned-1-1-any.pkg.tar.zst.sig"},
		{"changed", "extra", nil, func(t *testing.T, p *Package) {
			data, err := os.ReadFile(p.File)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			if err := os.WriteFile(p.File, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "corrupted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			pkg, err := a.Add(test.repository, thing(test.name), test.signer)
			if err != nil {
				t.Fatal(err)
			}
			if test.spoil != nil {
				test.spoil(t, pkg)
			}
			if err := a.Update(test.repository); err != nil {
				t.Fatal(err)
			}
			root := t.TempDir()
			out, err := p.Run(t.Context(), root, "-Sy", test.name)
			if test.refused == "" {
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				if _, err := os.Stat(filepath.Join(root, "usr/share", test.name)); err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatalf("pacman took it:\n%s", out)
			}
			if !strings.Contains(out, test.refused) {
				t.Errorf("pacman does not say %q:\n%s", test.refused, out)
			}
		})
	}
}

// TestChanges goes through what a test may do to repositories between two looks at them. Pacman is told to fetch databases whatever
// their time is, since two of one second look the same to it.
func TestChanges(t *testing.T) {
	a, err := NewEmptyArch(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, a, "ec2")
	add := func(repository string, s Small) {
		t.Helper()
		if _, err := a.Add(repository, s, nil); err != nil {
			t.Fatal(err)
		}
		if err := a.Update(repository); err != nil {
			t.Fatal(err)
		}
	}
	version := func(root string) string {
		t.Helper()
		out, err := p.Run(t.Context(), root, "-Q", "thing")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.TrimSpace(out)
	}
	root := t.TempDir()
	thing := Small{Name: "thing", Version: "1-1", Files: map[string]string{"usr/share/thing": "1\n"}, Groups: []string{"things"}}
	add("core", thing)
	if out, err := p.Run(t.Context(), root, "-Syy", "things"); err != nil || version(root) != "thing 1-1" {
		t.Fatalf("%v\n%s", err, out)
	}
	thing.Version = "2-1"
	add("extra", thing) // the first repository that has it wins
	if out, err := p.Run(t.Context(), root, "-Syyu"); err != nil || version(root) != "thing 1-1" {
		t.Fatalf("%v\n%s", err, out)
	}
	thing.Version = "1-1.1"
	add("ec2", thing)
	if out, err := p.Run(t.Context(), root, "-Syyu"); err != nil || version(root) != "thing 1-1.1" {
		t.Fatalf("%v\n%s", err, out)
	}
	add("core", Small{Name: "other", Version: "1-1", Files: map[string]string{"usr/share/thing": "mine\n"}})
	if out, err := p.Run(t.Context(), root, "-Syy", "other"); err == nil || !strings.Contains(out, "usr/share/thing exists in filesystem (owned by thing)") {
		t.Errorf("%v\n%s", err, out)
	}
	add("core", Small{Name: "foe", Version: "1-1", Conflicts: []string{"thing"}})
	if out, err := p.Run(t.Context(), root, "-Syy", "foe"); err == nil || !strings.Contains(out, "foe and thing are in conflict") {
		t.Errorf("%v\n%s", err, out)
	}
	a.Remove("core", "foe")
	if err := a.Update("core"); err != nil {
		t.Fatal(err)
	}
	if out, err := p.Run(t.Context(), root, "-Syy", "foe"); err == nil || !strings.Contains(out, "target not found: foe") {
		t.Errorf("%v\n%s", err, out)
	}
}
