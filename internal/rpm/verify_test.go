package rpm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/dsa" //nolint:staticcheck // what CentOS 5 and older were signed with
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/rpm/rpmtest"
)

func allKeys(t testing.TB) *fetch.Keyring {
	t.Helper()
	return rpmtest.Keys(t, "RPM-GPG-KEY-CentOS-6", "RPM-GPG-KEY-EPEL-6", "RPM-GPG-KEY-CentOS-5", "RPM-GPG-KEY-CentOS-Security-6")
}

const reason = "most packages of CentOS 6 were signed over SHA-1 and never again"

// TestSignatures compares with what rpmkeys says of each package. The key of CentOS 6 expired in 2021.
func TestSignatures(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(rpmtest.EL6(t, "expected", "signatures-rpm4.18.0.txt"))
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string][]string)
	name := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if file, ok := strings.CutSuffix(line, ":"); ok && !strings.HasPrefix(line, " ") {
			name = file
		} else if strings.Contains(line, "Signature") {
			want[name] = append(want[name], strings.TrimSpace(line))
		}
	}
	for _, path := range rpmtest.Packages(t) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		p, good, err := Verify(context.Background(), bytes.NewReader(data), Policy{Keys: allKeys(t), SHA1: reason, Expired: reason})
		lines := want[filepath.Base(path)]
		if len(lines) == 0 {
			if fault.KindOf(err) != fault.Trust || !strings.Contains(fmt.Sprint(err), "not signed") {
				t.Errorf("%s is not signed: %v", path, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		var got []string
		for _, s := range good {
			line := fmt.Sprintf("V%d RSA/%s Signature, key ID %s: OK", s.Version, strings.ReplaceAll(s.Hash.String(), "-", ""),
				strings.ToLower(s.Signer[32:]))
			if s.HeaderOnly {
				line = "Header " + line
			}
			got = append(got, line)
		}
		if d := cmp.Diff(lines, got); d != "" {
			t.Errorf("%s: (-rpm +ours)\n%s", p, d)
		}
		_, _, err = Verify(context.Background(), bytes.NewReader(data), Policy{Keys: allKeys(t), Expired: reason})
		if sha1 := strings.Contains(lines[0], "SHA1"); sha1 != (err != nil) || sha1 && !refusedFor(err, p.String(), "SHA-1") {
			t.Errorf("%s without leave for SHA-1: %v", p, err)
		}
		// Of the two keys only that of CentOS has expired.
		_, _, err = Verify(context.Background(), bytes.NewReader(data), Policy{Keys: allKeys(t), SHA1: reason, Now: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)})
		if err != nil {
			t.Errorf("%s while its key was valid: %v", p, err)
		}
		_, _, err = Verify(context.Background(), bytes.NewReader(data), Policy{Keys: allKeys(t), SHA1: reason})
		if centos := good[0].Certificate == "C1DAC52D1664E8A4386DBA430946FCA2C105B9DE"; centos != refusedFor(err, p.String(), "has expired since") {
			t.Errorf("%s without leave for expired keys: %v", p, err)
		}
	}
}

// refusedFor reports whether an error is one of trust that has the texts.
func refusedFor(err error, texts ...string) bool {
	return err != nil && fault.KindOf(err) == fault.Trust &&
		!slices.ContainsFunc(texts, func(s string) bool { return !strings.Contains(err.Error(), s) })
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(rpmtest.EL6(t, "rpms", "zlib-1.2.3-29.el6.x86_64.rpm"))
	if err != nil {
		t.Fatal(err)
	}
	r := bytes.NewReader(whole)
	p, err := Read(r)
	if err != nil {
		t.Fatal(err)
	}
	payload := len(whole) - r.Len()
	header := payload - len(p.Header.Blob)
	change := func(at int) []byte {
		data := bytes.Clone(whole)
		data[at]++
		return data
	}
	license := header + bytes.Index(whole[header:], []byte("zlib and Boost"))
	// forge changes a byte and makes the digests fit, which need no key.
	forge := func(at int) []byte {
		data := change(at)
		signed := header - len(headerMagic)
		d := decoder{h: p.Signature}
		md5, err := p.Signature.Bytes(sigMD5)
		if err != nil {
			t.Fatal(err)
		}
		sum := crypto.SHA1.New()
		sum.Write(data[signed:payload])
		data = bytes.Replace(data, []byte(d.string(sigSHA1)), fmt.Appendf(nil, "%x", sum.Sum(nil)), 1)
		sum = crypto.MD5.New()
		sum.Write(data[signed:])
		return bytes.Replace(data, md5, sum.Sum(nil), 1)
	}
	keys := allKeys(t)
	for _, tc := range []struct {
		name  string
		data  []byte
		keys  *fetch.Keyring
		texts []string
	}{
		{"payload changed", change(payload + 1000), keys, []string{"zlib-1.2.3-29.el6.x86_64", "MD5"}},
		{"payload cut off", whole[:len(whole)-1], keys, []string{"zlib-1.2.3-29.el6.x86_64", "MD5"}},
		{"header changed", change(license), keys, []string{"zlib-1.2.3-29.el6.x86_64", "SHA-1"}},
		{"header forged", forge(license), keys, []string{"zlib-1.2.3-29.el6.x86_64", "0946FCA2C105B9DE", "does not fit"}},
		{"payload forged", forge(payload + 1000), keys, []string{"zlib-1.2.3-29.el6.x86_64", "0946FCA2C105B9DE", "does not fit"}},
		{"unknown key", whole, rpmtest.Keys(t, "RPM-GPG-KEY-EPEL-6"), []string{"zlib-1.2.3-29.el6.x86_64", "0946FCA2C105B9DE", "not among the trusted"}},
		{"no keys", whole, nil, []string{"zlib-1.2.3-29.el6.x86_64", "not among the trusted"}},
	} {
		if _, _, err := Verify(context.Background(), bytes.NewReader(tc.data), Policy{Keys: tc.keys, SHA1: reason, Expired: reason}); !refusedFor(err, tc.texts...) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := Verify(ctx, bytes.NewReader(whole), Policy{Keys: keys, SHA1: reason, Expired: reason}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// signed returns a package whose header alone is signed by an entity, with a digest of its payload in the header.
func signed(t testing.TB, e *openpgp.Entity, when time.Time, payload []byte) []byte {
	t.Helper()
	sum := crypto.SHA256.New()
	sum.Write(payload)
	header := sampleHeader(tagHeaderImmutable, map[Tag]any{TagName: "made", TagVersion: "1", TagRelease: "2", TagArch: "noarch",
		TagPayloadDigest: []string{fmt.Sprintf("%x", sum.Sum(nil))}, TagPayloadDigestAlgo: []uint32{8}})
	var sig bytes.Buffer
	if err := openpgp.DetachSign(&sig, e, bytes.NewReader(header), &packet.Config{Time: func() time.Time { return when }}); err != nil {
		t.Fatal(err)
	}
	return slices.Concat(sampleLead(), sampleSignature(map[Tag]any{sigRSA: sig.Bytes()}), header, payload)
}

func TestVersion4(t *testing.T) {
	t.Parallel()
	born := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	e, err := openpgp.NewEntity("maker", "", "maker@example.org", &packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048,
		KeyLifetimeSecs: 365 * 24 * 3600, Time: func() time.Time { return born }})
	if err != nil {
		t.Fatal(err)
	}
	var pub bytes.Buffer
	if err := e.Serialize(&pub); err != nil {
		t.Fatal(err)
	}
	keys, err := fetch.ReadKeys(pub.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	data := signed(t, e, born.AddDate(0, 6, 0), []byte("payload"))
	p, good, err := Verify(context.Background(), bytes.NewReader(data), Policy{Keys: keys, Expired: reason})
	if err != nil {
		t.Fatal(err)
	}
	if p.String() != "made-1-2.noarch" || len(good) != 1 || good[0].Version != 4 || !good[0].HeaderOnly || !good[0].Time.Equal(born.AddDate(0, 6, 0)) {
		t.Errorf("%s: %+v", p, good)
	}
	data[len(data)-1]++
	if _, _, err := Verify(context.Background(), bytes.NewReader(data), Policy{Keys: keys, Expired: reason}); !refusedFor(err, "payload's digest") {
		t.Errorf("payload changed: %v", err)
	}
	// No honest program signs with a key that has expired; a thief of the key would.
	e.PrimaryIdentity().SelfSignature.KeyLifetimeSecs = nil
	data = signed(t, e, born.AddDate(2, 0, 0), []byte("payload"))
	if _, _, err := Verify(context.Background(), bytes.NewReader(data), Policy{Keys: keys, Expired: reason}); !refusedFor(err, "not valid on 2022") {
		t.Errorf("signed by an expired key: %v", err)
	}
}

// TestDSA makes a version 3 packet, as the packages of CentOS 5 and older have it.
func TestDSA(t *testing.T) {
	t.Parallel()
	var key dsa.PrivateKey
	// A group of 1024 and 160 bits, made once by dsa.GenerateParameters: making one takes seconds.
	for text, n := range map[string]**big.Int{dsaP: &key.P, dsaQ: &key.Q, dsaG: &key.G} {
		*n, _ = new(big.Int).SetString(text, 16)
	}
	if err := dsa.GenerateKey(&key, rand.Reader); err != nil {
		t.Fatal(err)
	}
	tail := []byte{0, 0x50, 0, 0, 0}
	h := crypto.SHA1.New()
	h.Write([]byte("data"))
	h.Write(tail)
	sum := h.Sum(nil)
	r, s, err := dsa.Sign(rand.Reader, &key, sum)
	if err != nil {
		t.Fatal(err)
	}
	body := slices.Concat([]byte{3, 5}, tail, []byte{1, 2, 3, 4, 5, 6, 7, 8, algorithmDSA, 2}, sum[:2])
	for _, n := range []*big.Int{r, s} {
		body = binary.BigEndian.AppendUint16(body, uint16(n.BitLen()))
		body = append(body, n.Bytes()...)
	}
	sig, err := parseSignature(append([]byte{0x88, byte(len(body))}, body...))
	if err != nil {
		t.Fatal(err)
	}
	if sig.version != 3 || sig.keyID != 0x0102030405060708 || sig.hash != crypto.SHA1 || sig.created.Unix() != 0x50000000 {
		t.Errorf("%+v", sig)
	}
	if err := sig.fits(&key.PublicKey, sum); err != nil {
		t.Error(err)
	}
	sum[5]++
	if err := sig.fits(&key.PublicKey, sum); err == nil {
		t.Error("a wrong digest passes")
	}
}

func FuzzSignature(f *testing.F) {
	f.Add([]byte{0x88, 4, 3, 5, 0, 0})
	e, err := openpgp.NewEntity("a", "", "a@example.org", nil)
	if err != nil {
		f.Fatal(err)
	}
	var sig bytes.Buffer
	if err := openpgp.DetachSign(&sig, e, strings.NewReader("data"), nil); err != nil {
		f.Fatal(err)
	}
	f.Add(sig.Bytes())
	digest := make([]byte, 64)
	var key dsa.PublicKey
	key.P, key.Q, key.G, key.Y = big.NewInt(23), big.NewInt(11), big.NewInt(4), big.NewInt(9)
	f.Fuzz(func(_ *testing.T, data []byte) {
		if s, err := parseSignature(data); err == nil {
			_ = s.fits(&key, digest)
		}
	})
}

// Parameters of TestDSA.
const (
	dsaP = "aaedfd062dbaae61d199341a7ea2ce081de39db2ed6f732b3c78b4cf6b522fc98d3cb90bc9a51f57a3d432f3fd4f42f5b90b298ff5ab51c7a4303c02f4298528" +
		"0f0507a9e2a6a7c100b9aa746b3b26e7745551be02cbb05c5bdb76f384d2016fd7fd6ed440b41b6a4e97e6452f344b757ce6799732cc67629a84459d47608c49"
	dsaQ = "9d935b03df2a8903e9f5d14cb557d65836d5a649"
	dsaG = "5c1219b8e94c79b4d07344f663ea51e76d08c9c4a9a1ad916c4b1eb32d4b2a83f42333322789abbf884421001f009a17d08e7674803264a1603b5562b54b26df" +
		"44708749e3e8c8082aa9fe1234bdfb459782e5fd3244a94ec7a1ceb78f3a626c9b5bff7f32e6b18fd9bd1e50bc5bcee4c0dec72829639d47674540979e3ec688"
)
