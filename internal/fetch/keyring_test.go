package fetch

import (
	"bytes"
	"crypto"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"ingot/internal/fault"
)

// The keys of the tests are made on this day, their signatures the day after, and both are judged a week later.
var (
	born   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	signed = born.AddDate(0, 0, 1)
	today  = born.AddDate(0, 0, 8)
)

func at(t time.Time) *packet.Config {
	return &packet.Config{Time: func() time.Time { return t }, Algorithm: packet.PubKeyAlgoEdDSA}
}

// newKey makes a key. With a lifetime other than 0 it expires.
func newKey(t testing.TB, name string, lifetime time.Duration) *openpgp.Entity {
	t.Helper()
	config := at(born)
	config.KeyLifetimeSecs = uint32(lifetime.Seconds())
	e, err := openpgp.NewEntity(name, "", name+"@example.org", config)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func export(t testing.TB, armored bool, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, k := range keys {
		if err := k.Serialize(&b); err != nil {
			t.Fatal(err)
		}
	}
	if !armored {
		return b.Bytes()
	}
	var a bytes.Buffer
	w, err := armor.Encode(&a, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(b.Bytes())
	w.Close()
	return a.Bytes()
}

func ring(t testing.TB, keys ...*openpgp.Entity) *Keyring {
	t.Helper()
	k, err := ReadKeys(export(t, false, keys...))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func fingerprint(e *openpgp.Entity) string { return fmt.Sprintf("%X", e.PrimaryKey.Fingerprint) }

func clear(t testing.TB, text string, config *packet.Config, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var private []*packet.PrivateKey
	for _, k := range keys {
		key, ok := k.SigningKey(config.Now())
		if !ok {
			t.Fatal("key cannot sign")
		}
		private = append(private, key.PrivateKey)
	}
	var b bytes.Buffer
	w, err := clearsign.EncodeMulti(&b, private, config)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(strings.TrimSuffix(text, "\n"))) // as gpg does, which leaves the last line end out
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const text = "Origin: Example\n- dash\n\nSuite: stable\n"

func TestVerifyClearsigned(t *testing.T) {
	t.Parallel()
	a, b, c := newKey(t, "a", 0), newKey(t, "b", 0), newKey(t, "c", 0)
	if err := b.AddSigningSubkey(at(born)); err != nil {
		t.Fatal(err)
	}
	k := ring(t, a, b)
	plain, sigs, err := k.VerifyClearsigned(clear(t, text, at(signed), c, b, a), today)
	if err != nil || string(plain) != text {
		t.Fatalf("%q, %v", plain, err)
	}
	if len(sigs) != 2 || sigs[0].Fingerprint != fingerprint(b) || sigs[1].Fingerprint != fingerprint(a) {
		t.Fatalf("%+v", sigs)
	}
	if sub := b.Subkeys[1].PublicKey.Fingerprint; sigs[0].Signer != fmt.Sprintf("%X", sub) || sigs[1].Signer != fingerprint(a) {
		t.Errorf("signers %+v", sigs)
	}
	if !sigs[0].Time.Equal(signed) {
		t.Errorf("signed at %s", sigs[0].Time)
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	a, stranger, shortLived := newKey(t, "a", 0), newKey(t, "b", 0), newKey(t, "c", 48*time.Hour)
	revoked := newKey(t, "d", 0)
	revokedMessage := clear(t, text, at(signed), revoked)
	if err := revoked.RevokeKey(packet.KeyCompromised, "lost", at(signed)); err != nil {
		t.Fatal(err)
	}
	k := ring(t, a, shortLived, revoked)
	good := string(clear(t, text, at(signed), a))
	sha1 := at(signed)
	sha1.DefaultHash = crypto.SHA1
	tests := map[string]struct {
		data string
		now  time.Time
		word string
	}{
		"stranger":        {string(clear(t, text, at(signed), stranger)), today, fingerprint(stranger) + ": the key is not among"},
		"changed":         {strings.Replace(good, "stable", "stible", 1), today, fingerprint(a) + ": it does not fit"},
		"expired":         {string(clear(t, text, at(signed), shortLived)), today, "the key has expired"},
		"revoked":         {string(revokedMessage), today, "the key was revoked"},
		"from the future": {good, signed.Add(-time.Hour), "not valid at 2026-03-02T11"},
		"none":            {text, today, "not a clearsigned message"},
		"empty":           {"", today, "not a clearsigned message"},
		"text before":     {"Origin: Evil\n" + good, today, "unsigned text"},
		"text after":      {good + "\nOrigin: Evil\n", today, "unsigned text"},
		"damaged armor":   {strings.Replace(good, "SIGNATURE-----\n\n", "SIGNATURE-----\n\nAAAA", 1), today, "damaged"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain, sigs, err := k.VerifyClearsigned([]byte(test.data), test.now)
			wantError(t, err, fault.Trust, test.word)
			if plain != nil || sigs != nil {
				t.Error("something came with the error")
			}
		})
	}
	if _, _, err := k.VerifyClearsigned(clear(t, text, at(signed), shortLived), signed.Add(time.Minute)); err != nil {
		t.Errorf("before its key expired: %v", err)
	}
}

func TestVerifyDetached(t *testing.T) {
	t.Parallel()
	a, b := newKey(t, "a", 0), newKey(t, "b", 0)
	k := ring(t, a, b)
	data := bytes.Repeat([]byte("database\r\n"), 50_000)
	var binary, armored bytes.Buffer
	for _, e := range []*openpgp.Entity{newKey(t, "c", 0), a, b} {
		if err := openpgp.DetachSign(&binary, e, bytes.NewReader(data), at(signed)); err != nil {
			t.Fatal(err)
		}
	}
	if err := openpgp.ArmoredDetachSignText(&armored, b, bytes.NewReader(data), at(signed)); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		sig  []byte
		want []string
	}{
		"three, one unknown": {binary.Bytes(), []string{fingerprint(a), fingerprint(b)}},
		"armored text":       {armored.Bytes(), []string{fingerprint(b)}},
	} {
		sigs, err := k.VerifyDetached(bytes.NewReader(data), test.sig, today)
		if err != nil || len(sigs) != len(test.want) {
			t.Fatalf("%s: %+v, %v", name, sigs, err)
		}
		for i := range sigs {
			if sigs[i].Fingerprint != test.want[i] {
				t.Errorf("%s: %+v", name, sigs)
			}
		}
		_, err = k.VerifyDetached(bytes.NewReader(data[1:]), test.sig, today)
		wantError(t, err, fault.Trust, fingerprint(b)+": it does not fit the data")
	}
	for name, sig := range map[string][]byte{
		"empty": {}, "noise": []byte("hello, world"), "key": export(t, false, a), "many": bytes.Repeat(binary.Bytes(), 20),
		"armor": []byte("-----BEGIN PGP SIGNATURE-----\n"), "huge": make([]byte, maxSignatureBytes+1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := k.VerifyDetached(bytes.NewReader(data), sig, today)
			wantError(t, err, fault.Trust)
		})
	}
}

// TestWeakHash signs by SHA-1, which the library refuses to do unless it is made to.
func TestWeakHash(t *testing.T) {
	t.Parallel()
	a := newKey(t, "a", 0)
	sig := &packet.Signature{Version: 4, SigType: packet.SigTypeBinary, PubKeyAlgo: a.PrimaryKey.PubKeyAlgo,
		Hash: crypto.SHA1, CreationTime: signed, IssuerKeyId: &a.PrimaryKey.KeyId}
	if err := ring(t, a).acceptable(sig); err == nil || !strings.Contains(err.Error(), "SHA-1, which is broken") {
		t.Errorf("%v", err)
	}
}

func TestReadKeys(t *testing.T) {
	t.Parallel()
	a, b, c := newKey(t, "a", 0), newKey(t, "b", 0), newKey(t, "c", 0)
	k, err := ReadKeys(append(export(t, true, a), export(t, true, b)...), export(t, false, c, a))
	if err != nil || len(k.keys) != 3 {
		t.Fatalf("%d keys, %v", len(k.keys), err)
	}
	for _, bad := range [][]byte{nil, []byte("hello"), export(t, true, a)[:100]} {
		if _, err := ReadKeys(bad); fault.KindOf(err) != fault.Input {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := ReadKeys(); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
}

// A revocation in one file counts, whichever order the files come in.
func TestMergedRevocation(t *testing.T) {
	t.Parallel()
	a := newKey(t, "a", 0)
	before := export(t, false, a)
	message := clear(t, text, at(signed), a)
	if err := a.RevokeKey(packet.KeyCompromised, "lost", at(signed)); err != nil {
		t.Fatal(err)
	}
	after := export(t, false, a)
	for _, files := range [][][]byte{{before, after}, {after, before}} {
		k, err := ReadKeys(files...)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = k.VerifyClearsigned(message, today)
		wantError(t, err, fault.Trust, "revoked")
	}
}

func TestRestrict(t *testing.T) {
	t.Parallel()
	a, b := newKey(t, "a", 0), newKey(t, "b", 0)
	k := ring(t, a, b)
	spaced := "0x" + strings.ToLower(fingerprint(a)[:20]+" "+fingerprint(a)[20:])
	only, err := k.Restrict([]string{spaced, fingerprint(a)})
	if err != nil || len(only.keys) != 1 {
		t.Fatal(err)
	}
	if _, _, err := only.VerifyClearsigned(clear(t, text, at(signed), b), today); fault.KindOf(err) != fault.Trust {
		t.Error(err)
	}
	_, err = ring(t, a).Restrict([]string{fingerprint(b)})
	wantError(t, err, fault.Trust, fingerprint(b))
	_, err = k.Restrict([]string{fmt.Sprintf("%X", b.Subkeys[0].PublicKey.Fingerprint)})
	wantError(t, err, fault.Trust, "subkey", fingerprint(b))
	for _, bad := range []string{"", "0xDEADBEEF", fingerprint(a)[24:], "name"} {
		_, err = k.Restrict([]string{bad})
		wantError(t, err, fault.Input, "no OpenPGP fingerprint")
	}
	_, err = k.Restrict(nil)
	wantError(t, err, fault.Input)
}

func FuzzVerifyClearsigned(f *testing.F) {
	a := newKey(f, "a", 0)
	k := ring(f, a)
	f.Add(clear(f, text, at(signed), a))
	f.Add([]byte("-----BEGIN PGP SIGNED MESSAGE-----\n\nx\n-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----"))
	f.Fuzz(func(t *testing.T, data []byte) {
		plain, sigs, err := k.VerifyClearsigned(data, today)
		if (err == nil) != (len(sigs) > 0) {
			t.Error("signatures and error contradict each other")
		}
		if err == nil && string(plain) != text {
			t.Errorf("forged: %q", plain)
		}
	})
}

func FuzzReadKeys(f *testing.F) {
	a := newKey(f, "a", 0)
	f.Add(export(f, false, a))
	f.Add(export(f, true, a))
	f.Fuzz(func(t *testing.T, data []byte) { _, _ = ReadKeys(data) })
}

// TestStrayCertification reads a certificate at whose end, behind a subkey, there is a certification, and
// one that is broken beside a good one.
func TestStrayCertification(t *testing.T) {
	t.Parallel()
	key, other := newKey(t, "a", 0), newKey(t, "b", 0)
	certify(t, key, born, other)
	certifications := key.PrimaryIdentity().Signatures
	var stray bytes.Buffer
	if err := certifications[len(certifications)-1].Serialize(&stray); err != nil {
		t.Fatal(err)
	}
	k, err := ReadKeys(append(export(t, false, key), stray.Bytes()...))
	if err != nil || len(k.keys) != 1 || len(k.keys[0].Subkeys) != 1 {
		t.Fatalf("%v, %v", k, err)
	}
	broken := newKey(t, "c", 0)
	broken.Subkeys = nil
	broken.Identities = map[string]*openpgp.Identity{}
	k, err = ReadKeys(bytes.Join([][]byte{export(t, true, broken), export(t, true, key)}, []byte("\n")))
	if err != nil || len(k.keys) != 1 || fingerprint(k.keys[0]) != fingerprint(key) {
		t.Errorf("%v, %v", k, err)
	}
}
