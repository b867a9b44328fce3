package arch

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// How programs that the script calls behave: curl asks the instance's metadata, and reflector looks for mirrors.
const (
	metadata = `case "$*" in
*PUT*/api/token) echo secret ;;
*"token: secret"*/placement/region) echo $REGION ;;
*) exit 22 ;;
esac
`
	noMetadata = "exit 7\n"
	mirrors    = `shift; [ "$1" = --save ] && echo "Server = https://near/$REGION" >"$2"` + "\n"
	noMirrors  = `echo "# nothing" >"$3"` + "\n"
	broken     = `echo "Server = https://half" >"$3"; exit 1` + "\n"
)

// TestMirrors runs the script that chooses mirrors, boot after boot, in a folder of its own.
func TestMirrors(t *testing.T) {
	t.Parallel()
	script := ""
	for _, f := range New().facts.Arches["x86_64"].Files {
		if f.Path == "/usr/lib/ec2/pacman-mirrors" {
			script = *f.Content
		}
	}
	if script == "" {
		t.Fatal("the facts have no such script")
	}
	dir := t.TempDir()
	for _, name := range []string{"etc/pacman.d", "etc/xdg/reflector", "var/lib/ec2", "bin"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return ""
		}
		return string(text)
	}
	write("etc/pacman.d/ec2-regions", "# a comment\n"+New().regions())
	write("etc/pacman.d/mirrorlist", "Server = https://build\n")
	write("script", strings.NewReplacer("=/etc/", "="+dir+"/etc/", "' /etc/", "' "+dir+"/etc/", "=/var/", "="+dir+"/var/").Replace(script))
	for _, boot := range []struct {
		name, curl, region, reflector string
		list, countries               string // of the mirrorlist and of reflector's settings, after the boot
	}{
		{"no metadata", noMetadata, "", mirrors, "https://build", ""},
		{"reflector fails", metadata, "eu-west-2", broken, "https://build", "GB,IE,DE"},
		{"reflector finds nothing", metadata, "eu-west-2", noMirrors, "https://build", "GB,IE,DE"},
		{"chosen", metadata, "eu-west-2", mirrors, "https://near/eu-west-2", "GB,IE,DE"},
		{"not again", metadata, "eu-west-2", broken, "https://near/eu-west-2", "GB,IE,DE"},
		{"an image of the instance, elsewhere", metadata, "sa-east-1", mirrors, "https://near/sa-east-1", "BR,CL,US"},
		{"a region from the future", metadata, "xx-north-9", mirrors, "https://near/xx-north-9", "DE,US"},
	} {
		write("bin/curl", "#!/bin/sh\n"+boot.curl)
		write("bin/reflector", "#!/bin/sh\n"+boot.reflector)
		cmd := exec.CommandContext(t.Context(), "/bin/sh", filepath.Join(dir, "script"))
		cmd.Env = []string{"PATH=" + dir + "/bin:" + os.Getenv("PATH"), "REGION=" + boot.region}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", boot.name, err, out)
		}
		if d := cmp.Diff("Server = "+boot.list+"\n", read("etc/pacman.d/mirrorlist")); d != "" {
			t.Errorf("%s: -want +got\n%s\n%s", boot.name, d, out)
		}
		_, countries, _ := strings.Cut(read("etc/xdg/reflector/reflector.conf"), "--country ")
		if got, _, _ := strings.Cut(countries, "\n"); got != boot.countries {
			t.Errorf("%s: countries %q, want %q", boot.name, got, boot.countries)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "etc/*/*.new"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
