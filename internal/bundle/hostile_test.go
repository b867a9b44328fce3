package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/fault"
)

// files is a Source in memory.
type files map[string][]byte

func (f files) Open(_ context.Context, name string) (io.ReadCloser, error) {
	b, ok := f[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, os.ErrNotExist)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// forge makes a bundle with an archive of the caller's making, correct in everything else.
func forge(t *testing.T, archive []byte, size int64) (*Manifest, files) {
	t.Helper()
	user, cloud := testKeys()
	var out bytes.Buffer
	enc := newEncrypter(&out, testSecret)
	zip := newGzip(enc)
	_, err := zip.Write(archive)
	if err = errors.Join(err, zip.Close(), enc.Close()); err != nil {
		t.Fatal(err)
	}
	whole, part := sha1.Sum(archive), sha1.Sum(out.Bytes())
	m := &Manifest{Version: Version, Architecture: "x86_64", Name: "image", User: "123456789012", Type: Machine,
		Digest: hex.EncodeToString(whole[:]), Size: size, BundledSize: int64(out.Len()),
		Parts: []Part{{"image.part.0", hex.EncodeToString(part[:])}}}
	if m.UserKeys, err = testSecret.wrap(&user.PublicKey); err != nil {
		t.Fatal(err)
	}
	if m.EC2, err = testSecret.wrap(&cloud.PublicKey); err != nil {
		t.Fatal(err)
	}
	if err := m.Sign(user); err != nil {
		t.Fatal(err)
	}
	return m, files{"image.part.0": out.Bytes()}
}

func archive(t *testing.T, members ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range members {
		h.Format, h.Mode = tar.FormatGNU, 0o644
		err := w.WriteHeader(h)
		if err == nil && h.Typeflag == tar.TypeReg {
			_, err = w.Write(make([]byte, h.Size))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// endless returns an archive whose list of extents goes on for longer than it may.
func endless(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	image := memory([]byte("12345"))
	image.Data = make([]Extent, 4) // with the one at the end, the list continues in another block
	if err := writeTar(t.Context(), &b, image, "image", time.Unix(0, 0), func(int64) {}); err != nil {
		t.Fatal(err)
	}
	more := make([]byte, block)
	more[504] = 1
	return append(b.Bytes()[:block], bytes.Repeat(more, maxHeaders/block)...)
}

// refused extracts, and checks that it fails as it should and leaves nothing.
func refused(t *testing.T, m *Manifest, src Source, o ExtractOptions, kind fault.Kind, text string) {
	t.Helper()
	dir := t.TempDir()
	err := Extract(t.Context(), m, src, filepath.Join(dir, "disk"), o, nil)
	if err == nil || fault.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v (%v), want %q (%v)", err, fault.KindOf(err), text, kind)
	}
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("it leaves %q", got)
	}
	if err := Check(t.Context(), m, src, o, nil); err == nil || fault.KindOf(err) != kind {
		t.Errorf("Check says %v (%v), Extract refuses (%v)", err, fault.KindOf(err), kind)
	}
}

func TestTampering(t *testing.T) {
	t.Parallel()
	user, cloud := testKeys()
	dir := t.TempDir()
	o := testOptions(dir)
	o.PartSize = 3000
	create(t, memory(noise(10_000)), o)
	open := ExtractOptions{Key: user}
	for name, c := range map[string]struct {
		edit func(m *Manifest, f files)
		o    ExtractOptions
		kind fault.Kind
		text string
	}{
		"a bit of the first part": {func(_ *Manifest, f files) { f["image.part.0"][0] ^= 1 }, open, fault.Trust, "the part image.part.0 has the SHA-1"},
		"a bit of the last part":  {func(_ *Manifest, f files) { f["image.part.3"][5] ^= 1 }, open, fault.Trust, "the part image.part.3 has the SHA-1"},
		"parts exchanged": {func(_ *Manifest, f files) {
			f["image.part.1"], f["image.part.2"] = f["image.part.2"], f["image.part.1"]
		}, open, fault.Trust, "the part image.part.1 has the SHA-1"},
		"a part cut short":  {func(_ *Manifest, f files) { f["image.part.1"] = f["image.part.1"][:100] }, open, fault.Trust, "the part image.part.1"},
		"a part too long":   {func(_ *Manifest, f files) { f["image.part.3"] = append(f["image.part.3"], make([]byte, 5000)...) }, open, fault.Trust, "more bytes"},
		"a part missing":    {func(_ *Manifest, f files) { delete(f, "image.part.2") }, open, fault.Missing, "opening the part image.part.2 (3 of 4)"},
		"the account":       {func(m *Manifest, _ files) { m.User = "210987654321"; m.signed = m.canonical() }, open, fault.Trust, "signature"},
		"no signature":      {func(m *Manifest, _ files) { m.Signature = "UNSIGNED" }, open, fault.Trust, "not signed"},
		"another's key":     {func(*Manifest, files) {}, ExtractOptions{Key: user, Signer: &cloud.PublicKey}, fault.Trust, "signature"},
		"the cloud's alone": {func(*Manifest, files) {}, ExtractOptions{Key: cloud}, fault.Trust, "signature"},
		"fewer parts": {func(m *Manifest, _ files) { m.Parts = m.Parts[:3] }, ExtractOptions{Key: user, AnySignature: true},
			fault.Trust, "bytes less than the manifest says"},
		"the digest": {func(m *Manifest, _ files) { m.Digest = strings.Repeat("0", 40) }, ExtractOptions{Key: user, AnySignature: true},
			fault.Trust, "the archive has the SHA-1"},
		"the size": {func(m *Manifest, _ files) { m.Size++ }, ExtractOptions{Key: user, AnySignature: true},
			fault.Input, "holds an image of 10000 bytes"},
		"an absurd size":   {func(m *Manifest, _ files) { m.Size = 1 << 60 }, ExtractOptions{Key: user, AnySignature: true}, fault.Input, "at most"},
		"an absurd bundle": {func(m *Manifest, _ files) { m.BundledSize = 1 << 60 }, ExtractOptions{Key: user, AnySignature: true}, fault.Input, "at most"},
		"the wrapped key":  {func(m *Manifest, _ files) { m.UserKeys.Key = "00"; m.EC2.Key = "zz" }, ExtractOptions{Key: user, AnySignature: true}, fault.Trust, "decrypting the bundle's key"},
		"a larger limit":   {func(*Manifest, files) {}, ExtractOptions{Key: user, MaxSize: 9999}, fault.Input, "at most 9999"},
		"no key":           {func(*Manifest, files) {}, ExtractOptions{}, fault.Usage, "private key"},
		"another key and iv": {func(m *Manifest, _ files) {
			m.UserKeys, _ = NewSecret().wrap(&user.PublicKey)
		}, ExtractOptions{Key: user, AnySignature: true}, fault.Trust, "decompressing"},
	} {
		t.Run(name, func(t *testing.T) {
			m, f := read(t, dir, "image"), files{}
			for _, p := range m.Parts {
				b, err := os.ReadFile(filepath.Join(dir, p.Name))
				if err != nil {
					t.Fatal(err)
				}
				f[p.Name] = b
			}
			c.edit(m, f)
			refused(t, m, f, c.o, c.kind, c.text)
		})
	}
}

// Whoever can sign can also put anything into the archive; it must not get further.
func TestHostileArchives(t *testing.T) {
	t.Parallel()
	open := ExtractOptions{Key: testOptions("").Key}
	image := &tar.Header{Name: "image", Typeflag: tar.TypeReg, Size: 5}
	for name, c := range map[string]struct {
		archive []byte
		size    int64
		text    string
	}{
		"a link":          {archive(t, &tar.Header{Name: "image", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}), 5, "where the image should be"},
		"a path":          {archive(t, &tar.Header{Name: "../image", Typeflag: tar.TypeReg, Size: 5}), 5, "where the image should be"},
		"two members":     {archive(t, image, &tar.Header{Name: "other", Typeflag: tar.TypeReg}), 5, `holds "other" beside the image`},
		"nothing":         {archive(t), 5, "reading the archive"},
		"no archive":      {[]byte("hello"), 5, "reading the archive"},
		"another size":    {archive(t, image), 6, "holds an image of 5 bytes"},
		"cut short":       {archive(t, image)[:514], 5, "image"},
		"a bomb":          {append(archive(t, image), make([]byte, 8<<20)...), 5, "longer than its image allows"},
		"endless extents": {endless(t), 5, "longer than its image allows"},
	} {
		t.Run(name, func(t *testing.T) {
			m, f := forge(t, c.archive, c.size)
			refused(t, m, f, open, fault.Input, c.text)
		})
	}
	m, f := forge(t, archive(t, &tar.Header{Name: "./disk.raw", Typeflag: tar.TypeReg, Size: 5}), 5)
	if err := Extract(t.Context(), m, f, filepath.Join(t.TempDir(), "disk"), open, nil); err != nil {
		t.Errorf("the name in the archive is nobody's business: %v", err)
	}
	// euca2ools leaves an empty part behind a stream that fills its last one.
	m.Parts = append(m.Parts, Part{"image.part.01", hex.EncodeToString(sha1.New().Sum(nil))})
	f["image.part.01"] = nil
	if err := m.Sign(open.Key); err != nil {
		t.Fatal(err)
	}
	if err := Extract(t.Context(), m, f, filepath.Join(t.TempDir(), "disk"), open, nil); err != nil {
		t.Errorf("an empty last part: %v", err)
	}
}

func TestHostileManifests(t *testing.T) {
	t.Parallel()
	good := string(create(t, memory(noise(1000)), testOptions(t.TempDir())).Encode())
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Errorf("no %s in the manifest", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"entities":          {swap("<manifest>", `<!DOCTYPE m [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><manifest>`), "document type"},
		"unknown entity":    {swap("x86_64", "&b;"), "entity"},
		"image twice":       {swap("</image>", "</image><image></image>"), "manifest/image is there twice"},
		"size twice":        {swap("<size>", "<size>5</size><size>"), "manifest/image/size is there twice"},
		"path":              {swap("image.part.0", "../image.part.0"), "not a plain file name"},
		"absolute path":     {swap("image.part.0", "/etc/passwd"), "not a plain file name"},
		"control character": {swap("image.part.0", "image&#10;.part.0"), "not a plain file name"},
		"count":             {swap("count='1'", "count='2'"), "counts 2 parts and lists 1"},
		"absurd count":      {swap("count='1'", "count='99999999999999999999'"), "counts"},
		"no count":          {swap(" count='1'", ""), "counts"},
		"index":             {swap("index='0'", "index='1'"), "index"},
		"negative size":     {swap("<size>1000<", "<size>-1<"), "bytes"},
		"size of words":     {swap("<size>1000<", "<size>many<"), "not a number"},
		"digest":            {swap("</digest><size>", "0</digest><size>"), "SHA-1"},
		"algorithm":         {swap("algorithm='SHA1'", "algorithm='MD5'"), "MD5"},
		"version":           {swap(Version, "2030-01-01"), "2030-01-01"},
		"root":              {"<html/>", "root"},
		"two roots":         {good + "<manifest/>", "twice"},
		"deep":              {swap("<version>", strings.Repeat("<a>", 100)), "nested"},
		"encoding":          {swap("version='1.0'", "version='1.0' encoding='UTF-7'"), "UTF-7"},
		"large":             {good + strings.Repeat(" ", maxManifest), "refused"},
		"cut short":         {good[:len(good)-20], "EOF"},
		"empty":             {"", "no element manifest"},
		"part twice": {strings.Replace(swap("count='1'", "count='2'"), "</part>",
			"</part><part><filename>image.part.0</filename><digest>"+strings.Repeat("00", 20)+"</digest></part>", 1), "twice"},
	} {
		if _, err := Parse([]byte(c.text)); err == nil || fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
	// What is signed is what is read, not what looks like it in a comment.
	m, err := Parse([]byte(strings.Replace(swap("123456789012", "210987654321"), "<machine_", "<!--"+good[strings.Index(good, "<machine_"):strings.Index(good, "<signature>")]+"--><machine_", 1)))
	if err == nil {
		err = m.Verify(&testOptions("").Key.PublicKey)
	}
	if fault.KindOf(err) != fault.Trust {
		t.Errorf("a signed comment: %v", err)
	}
}

func TestEncryptedManifest(t *testing.T) {
	t.Parallel()
	user, cloud := testKeys()
	text := create(t, memory([]byte("x")), testOptions(t.TempDir())).Encode()
	var body bytes.Buffer
	enc := newEncrypter(&body, testSecret)
	_, err := enc.Write(text)
	if err = errors.Join(err, enc.Close()); err != nil {
		t.Fatal(err)
	}
	head := wrapRaw(t, &user.PublicKey, append(testSecret.Key[:], testSecret.IV[:]...))
	sealed := append([]byte{1, byte(len(head) >> 8), byte(len(head))}, append(head, body.Bytes()...)...)
	if m, err := ReadManifest(bytes.NewReader(sealed), user); err != nil || m.Name != "image" {
		t.Error(err)
	}
	if _, err := ReadManifest(bytes.NewReader(sealed), cloud); fault.KindOf(err) != fault.Trust {
		t.Error("with another key:", err)
	}
	if _, err := ReadManifest(bytes.NewReader(sealed), nil); fault.KindOf(err) != fault.Trust {
		t.Error("without a key:", err)
	}
	for _, n := range []int{1, 2, 10, len(head) + 3, len(sealed) - 1} {
		if _, err := ReadManifest(bytes.NewReader(sealed[:n]), user); fault.KindOf(err) != fault.Trust {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}

func wrapRaw(t *testing.T, to *rsa.PublicKey, b []byte) []byte {
	t.Helper()
	c, err := rsa.EncryptPKCS1v15(rand.Reader, to, b) //nolint:staticcheck // the format's padding
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func FuzzParse(f *testing.F) {
	for _, dialect := range []string{"ec2-ami-tools", "euca2ools"} {
		text, err := os.ReadFile("testdata/vectors/" + dialect + "/dense-1/image.manifest.xml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`<?xml version="1.0" encoding='ASCII'?><manifest><version>3</version><image><parts count="0"/></image></manifest>`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(m.Encode())
		if err != nil {
			t.Fatalf("%v: %s", err, m.Encode())
		}
		if !bytes.Equal(m.Encode(), again.Encode()) {
			t.Errorf("%s\n%s", m.Encode(), again.Encode())
		}
	})
}

func FuzzArchive(f *testing.F) {
	dense, sparse := &bytes.Buffer{}, &bytes.Buffer{}
	image := memory(noise(1000))
	for _, w := range []*bytes.Buffer{dense, sparse} {
		if err := writeTar(f.Context(), w, image, "image", testOptions("").Modified, func(int64) {}); err != nil {
			f.Fatal(err)
		}
		image.Data = []Extent{{512, 488}}
	}
	f.Add(dense.Bytes())
	f.Add(sparse.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &Manifest{Size: 1000}
		archive := &limited{r: bytes.NewReader(b), left: maxHeaders}
		body, err := member(archive, m)
		if err != nil {
			return
		}
		archive.left = m.Size + slack
		out, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if err := writeSparse(out, body.image, m.Size, nil); err != nil {
			return
		}
		if info, err := out.Stat(); err != nil || info.Size() != m.Size {
			t.Error(info, err)
		}
		_ = body.end(archive)
	})
}
