package bundle

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// shell runs a script with the host's own tools, and returns what it prints.
func shell(t testing.TB, dir, script string, tools ...string) []byte {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, stderr.String())
	}
	return out
}

// The archive is what GNU tar writes for the same file, byte for byte.
func TestTarIsGNUTars(t *testing.T) {
	t.Parallel()
	modified := time.Unix(1700000000, 0)
	compare := func(t *testing.T, path string) {
		want := sha1.New()
		cmd := exec.CommandContext(t.Context(), "tar", "-c", "-h", "-S", "--format=gnu", "--owner=root:0", "--group=root:0", "--mode=0644", "--mtime=@1700000000",
			"-C", filepath.Dir(path), "image")
		cmd.Stdout = want
		if err := cmd.Run(); err != nil {
			t.Skipf("GNU tar: %v", err)
		}
		image, f, err := OpenImage(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var got bytes.Buffer
		sum := sha1.New()
		if err := writeTar(t.Context(), io.MultiWriter(&got, sum), image, "image", modified, func(int64) {}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(sum.Sum(nil), want.Sum(nil)) {
			t.Errorf("%d bytes differ from GNU tar's:\n%x", got.Len(), got.Bytes()[:min(512, got.Len())])
		}
	}
	for _, extents := range []int{0, 1, 3, 4, 24, 25, 60} {
		t.Run(fmt.Sprint(extents), func(t *testing.T) {
			path, _ := holey(t, extents)
			compare(t, path)
		})
	}
	t.Run("dense", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(path, noise(10_001), 0o600); err != nil {
			t.Fatal(err)
		}
		compare(t, path)
	})
	t.Run("beyond 8 GiB", func(t *testing.T) {
		path, _ := holey(t, 3)
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte("end"), 9<<30); err != nil {
			t.Skipf("no large files here: %v", err)
		}
		compare(t, path)
	})
}

// Every step of the format, with the programs that the original calls, and without our own code.
func TestOpensslAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, want := holey(t, 5)
	image, f, err := OpenImage(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o := testOptions(dir)
	o.Secret, o.PartSize = nil, 5000
	o.KernelID, o.ProductCodes = "aki-5c21674b", []string{"ABC", "DEF"}
	o.BlockDevices = []BlockDevice{{"root", "/dev/sda1"}, {"ami", "sda1"}}
	m := create(t, image, o)
	for _, name := range []string{"user", "cloud"} {
		text, err := os.ReadFile("testdata/test-" + name + "-key.pem")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".pem"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ recipient, field string }{{"user", "user"}, {"cloud", "ec2"}} {
		got := shell(t, dir, `
field() { sed "s/.*<$1[^>]*>\([^<]*\)<.*/\1/" image.manifest.xml; }
key=$(field `+c.field+`_encrypted_key | xxd -r -p | openssl pkeyutl -decrypt -inkey `+c.recipient+`.pem)
iv=$(field `+c.field+`_encrypted_iv | xxd -r -p | openssl pkeyutl -decrypt -inkey `+c.recipient+`.pem)
cat image.part.* | openssl enc -d -aes-128-cbc -K "$key" -iv "$iv" | gzip -dc > archive
sha1sum < archive | grep -q "^$(sed 's/.*<\/ancestry>//; s/.*<type>machine<\/type><digest algorithm=.SHA1.>\([^<]*\).*/\1/' image.manifest.xml) "
for p in image.part.*; do grep -q "<filename>$p</filename><digest algorithm='SHA1'>$(sha1sum < $p | cut -d' ' -f1)</digest>" image.manifest.xml; done
test "$(cat image.part.* | wc -c)" = "$(field bundled_size)"
{ grep -o '<machine_configuration>.*</machine_configuration>' image.manifest.xml | tr -d '\n'; grep -o '<image>.*</image>' image.manifest.xml | tr -d '\n'; } > signed
field signature | xxd -r -p > signature
openssl rsa -in user.pem -pubout -out public.pem 2>&1
openssl dgst -sha1 -verify public.pem -signature signature signed >&2
mkdir -p out; tar -x -C out < archive; cat out/image`, "openssl", "xxd", "tar", "gzip")
		if _, got, found := bytes.Cut(got, []byte("writing RSA key\n")); !found || !bytes.Equal(got, want) {
			t.Errorf("with the %s's key: another image of %d bytes came out", c.recipient, len(got))
		}
	}
	if len(m.Parts) < 3 {
		t.Errorf("only %d parts", len(m.Parts))
	}
}

// archive/tar gives up where a list of extents has 1 MiB; a large, old filesystem has more.
func TestManyExtents(t *testing.T) {
	t.Parallel()
	const n = 60_000
	image := memory(bytes.Repeat([]byte("some data"), n*1024/9+1)[:n*1024])
	image.Data = nil
	for i := range int64(n) {
		image.Data = append(image.Data, Extent{i * 1024, 512})
	}
	dir := t.TempDir()
	m := create(t, image, testOptions(dir))
	out := filepath.Join(dir, "disk")
	if err := Extract(t.Context(), m, Dir(dir), out, ExtractOptions{Key: testOptions("").Key}, nil); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if err != nil || len(got) != n*1024 {
		t.Fatal(len(got), err)
	}
	for i := range n {
		at := i * 1024
		want := make([]byte, 512)
		if _, err := image.ReadAt(want, int64(at)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[at:at+512], want) || !bytes.Equal(got[at+512:at+1024], make([]byte, 512)) {
			t.Fatalf("extent %d is wrong", i)
		}
	}
}

func TestGzipIsOneMember(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 5*chunkSize + 7} {
		in := append(noise(n/2), make([]byte, n-n/2)...)
		var out bytes.Buffer
		z := newGzip(&out)
		if _, err := z.Write(in); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if header := out.Bytes()[:10]; !bytes.Equal(header, []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3}) {
			t.Errorf("its header is %x", header)
		}
		cmd := exec.CommandContext(t.Context(), "python3", "-c",
			"import sys,zlib; d=zlib.decompressobj(31); sys.stdout.buffer.write(d.decompress(sys.stdin.buffer.read())); assert d.eof and not d.unused_data")
		cmd.Stdin = &out
		got, err := cmd.Output()
		if err != nil {
			t.Skipf("zlib of Python: %v", err)
		}
		if !bytes.Equal(got, in) {
			t.Errorf("%d bytes come out as %d others", n, len(got))
		}
	}
}

// The parts depend on the image, the secret and the size of the parts, not on the machine.
func TestPartsAreReproducible(t *testing.T) {
	image := append(noise(2<<20), bytes.Repeat([]byte("the same again, and again. "), 100_000)...)
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	var first *Manifest
	for _, n := range []int{1, 2, 7} {
		runtime.GOMAXPROCS(n)
		o := testOptions(t.TempDir())
		o.PartSize = 100_000
		m := create(t, memory(image), o)
		if first == nil {
			first = m
		} else if diff := cmp.Diff(first.Parts, m.Parts); diff != "" {
			t.Errorf("GOMAXPROCS=%d makes other parts: %s", n, diff)
		}
	}
}

func TestManifestText(t *testing.T) {
	t.Parallel()
	m := &Manifest{Version: Version, Bundler: Bundler{"ingot", "1.0", "0"}, Architecture: "x86_64",
		BlockDevices: []BlockDevice{{"root", "/dev/sda1"}, {"ami", "sda1"}}, KernelID: "aki-1", RamdiskID: "ari-1", ProductCodes: []string{"A", "B"},
		Name: `a&b<'">`, User: "123456789012", Type: Kernel, KernelName: "vmlinuz", Ancestors: []string{"ami-1"},
		Digest: strings.Repeat("ab", 20), Size: 5, BundledSize: 6, EC2: Wrapped{"01", "02"}, UserKeys: Wrapped{"03", "04"},
		Parts: []Part{{"a.part.0", strings.Repeat("cd", 20)}}, Signature: "05"}
	want := `<?xml version='1.0'?><manifest><version>2007-10-10</version><bundler><name>ingot</name><version>1.0</version><release>0</release></bundler>` +
		`<machine_configuration><architecture>x86_64</architecture><block_device_mapping><mapping><virtual>ami</virtual><device>sda1</device></mapping>` +
		`<mapping><virtual>root</virtual><device>/dev/sda1</device></mapping></block_device_mapping><kernel_id>aki-1</kernel_id><ramdisk_id>ari-1</ramdisk_id>` +
		`<product_codes><product_code>A</product_code><product_code>B</product_code></product_codes></machine_configuration>` +
		`<image><name>a&amp;b&lt;&apos;&quot;&gt;</name><user>123456789012</user><type>kernel</type><kernel_name>vmlinuz</kernel_name>` +
		`<ancestry><ancestor_ami_id>ami-1</ancestor_ami_id></ancestry><digest algorithm='SHA1'>` + strings.Repeat("ab", 20) + `</digest>` +
		`<size>5</size><bundled_size>6</bundled_size><ec2_encrypted_key algorithm='AES-128-CBC'>01</ec2_encrypted_key>` +
		`<user_encrypted_key algorithm='AES-128-CBC'>03</user_encrypted_key><ec2_encrypted_iv>02</ec2_encrypted_iv><user_encrypted_iv>04</user_encrypted_iv>` +
		`<parts count='1'><part index='0'><filename>a.part.0</filename><digest algorithm='SHA1'>` + strings.Repeat("cd", 20) + `</digest></part></parts></image>` +
		`<signature>05</signature></manifest>`
	if diff := cmp.Diff(want, string(m.Encode())); diff != "" {
		t.Error(diff)
	}
	again, err := Parse([]byte(want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(again.Encode())); diff != "" {
		t.Error(diff)
	}
}

// A signature covers values, whoever wrote them: as euca2ools lays them out, and pretty-printed afterwards.
func TestDialects(t *testing.T) {
	t.Parallel()
	user := testOptions("").Key
	m := create(t, memory([]byte("x")), testOptions(t.TempDir()))
	ours := string(m.Encode())

	pretty := strings.NewReplacer("><", ">\n  <").Replace(ours)
	euca := strings.Replace(ours, "<?xml version='1.0'?>", "<?xml version='1.0' encoding='ASCII'?>\n", 1)
	euca = regexp.MustCompile(`='(\w[^']*)'`).ReplaceAllString(euca, `="$1"`)
	euca = regexp.MustCompile(`<signature>.*</signature>`).ReplaceAllString(euca, "")
	parsed, err := Parse([]byte(euca))
	if err != nil {
		t.Fatal(err)
	}
	signature := signRaw(t, user, parsed.signed)
	euca = strings.Replace(euca, "</manifest>", "<signature>"+signature+"</signature></manifest>", 1)

	for name, text := range map[string]string{"ec2-ami-tools": ours, "pretty": pretty, "euca2ools": euca} {
		got, err := Parse([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := got.Verify(&user.PublicKey); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(string(m.canonical()), string(got.canonical())); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	// Version 3 had neither a machine_configuration nor a type, and signed the image alone.
	v3 := strings.Replace(ours, Version, "3", 1)
	v3 = regexp.MustCompile(`<machine_configuration>.*</machine_configuration>|<type>machine</type>|<signature>.*</signature>`).ReplaceAllString(v3, "")
	signature = signRaw(t, user, []byte(v3[strings.Index(v3, "<image>"):strings.Index(v3, "</manifest>")]))
	v3 = strings.Replace(v3, "</manifest>", "<signature>"+signature+"</signature></manifest>", 1)
	for _, text := range []string{v3, strings.Replace(ours, Version, "2007-08-29", 1)} {
		old, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := old.Verify(&user.PublicKey); err != nil || old.Digest != m.Digest || len(old.Parts) != len(m.Parts) {
			t.Errorf("version %s: %v", old.Version, err)
		}
	}
}

func signRaw(t *testing.T, key *rsa.PrivateKey, text []byte) string {
	t.Helper()
	sum := sha1.Sum(text)
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA1, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(signature)
}

// Each partition has the certificate whose fingerprint is known, expired or not.
func TestEC2Certificates(t *testing.T) {
	t.Parallel()
	for region, want := range map[string]struct {
		bits        int
		fingerprint string
	}{
		"eu-west-1":      {1024, "D3:27:BA:A0:F8:D3:EE:9C:BB:3C:FB:FE:3B:52:65:A8:40:53:5D:0D"},
		"af-south-1":     {1024, "D3:27:BA:A0:F8:D3:EE:9C:BB:3C:FB:FE:3B:52:65:A8:40:53:5D:0D"},
		"us-gov-west-1":  {1024, "89:D9:37:5A:6F:D0:90:DE:28:E1:63:78:6D:EE:5E:7E:19:6D:AA:B8"},
		"cn-north-1":     {2048, "1C:93:69:12:A3:18:42:A5:72:DD:E3:E0:B6:3B:CE:66:DF:77:20:2F"},
		"us-gov-east-1":  {},
		"cn-northwest-1": {},
	} {
		c, err := EC2Certificate(region)
		if (err == nil) != (want.bits > 0) || err == nil && (c.N.BitLen() != want.bits || c.Fingerprint != want.fingerprint) {
			t.Errorf("%s: %+v, %v", region, c, err)
		}
	}
}
