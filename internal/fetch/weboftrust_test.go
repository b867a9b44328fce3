package fetch

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"ingot/internal/fault"
)

// certify has masters certify the identity of a key at a time.
func certify(t testing.TB, key *openpgp.Entity, when time.Time, masters ...*openpgp.Entity) {
	t.Helper()
	for _, m := range masters {
		if err := key.SignIdentity(key.PrimaryIdentity().Name, m, at(when)); err != nil {
			t.Fatal(err)
		}
	}
}

// uncertify has a master take a certification back.
func uncertify(t testing.TB, key *openpgp.Entity, when time.Time, master *openpgp.Entity) {
	t.Helper()
	id := key.PrimaryIdentity()
	sig := &packet.Signature{Version: master.PrimaryKey.Version, SigType: packet.SigTypeCertificationRevocation,
		PubKeyAlgo: master.PrimaryKey.PubKeyAlgo, Hash: strong[0], CreationTime: when, IssuerKeyId: &master.PrimaryKey.KeyId,
		IssuerFingerprint: master.PrimaryKey.Fingerprint}
	if err := sig.SignUserId(id.Name, key.PrimaryKey, master.PrivateKey, at(when)); err != nil {
		t.Fatal(err)
	}
	id.Signatures = append(id.Signatures, sig)
}

func revoke(t testing.TB, key *openpgp.Entity) {
	t.Helper()
	if err := key.RevokeKey(packet.KeyCompromised, "", at(signed)); err != nil {
		t.Fatal(err)
	}
}

func TestWebOfTrust(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, tc := range map[string]struct {
		change    func(p *openpgp.Entity, m []*openpgp.Entity)
		lifetime  time.Duration // of the packager's key
		atSigning bool
		byMaster  bool
		listed    bool // on the list of revoked keys
		want      string
	}{
		"three masters": {change: func(p *openpgp.Entity, m []*openpgp.Entity) { certify(t, p, born, m[:3]...) }},
		"two masters": {change: func(p *openpgp.Entity, m []*openpgp.Entity) { certify(t, p, born, m[:2]...) },
			want: "certified by 2 of the 4 trusted masters, 3 are needed"},
		"one master three times": {change: func(p *openpgp.Entity, m []*openpgp.Entity) { certify(t, p, born, m[0], m[0], m[0]) },
			want: "certified by 1 of"},
		"strangers": {change: func(p *openpgp.Entity, m []*openpgp.Entity) {
			certify(t, p, born, m[0], m[1], newKey(t, "s1", 0), newKey(t, "s2", 0))
		}, want: "certified by 2 of"},
		"a master's own signature": {byMaster: true},
		"revoked packager": {change: func(p *openpgp.Entity, m []*openpgp.Entity) { certify(t, p, born, m...); revoke(t, p) },
			want: "the key was revoked"},
		"revoked packager, judged at signing": {atSigning: true, change: func(p *openpgp.Entity, m []*openpgp.Entity) { certify(t, p, born, m...); revoke(t, p) },
			want: "the key was revoked"},
		"packager on the list": {listed: true, change: func(p *openpgp.Entity, m []*openpgp.Entity) { certify(t, p, born, m...) },
			want: "list of revoked ones"},
		"revoked certification": {change: func(p *openpgp.Entity, m []*openpgp.Entity) {
			certify(t, p, born, m[:3]...)
			uncertify(t, p, signed, m[0])
		}, want: "certified by 2 of"},
		"certified again": {change: func(p *openpgp.Entity, m []*openpgp.Entity) {
			certify(t, p, born, m[:3]...)
			uncertify(t, p, signed, m[0])
			certify(t, p, signed.Add(time.Hour), m[0])
		}},
		"revocation by another": {change: func(p *openpgp.Entity, m []*openpgp.Entity) {
			certify(t, p, born, m[:3]...)
			uncertify(t, p, signed, m[3])
		}},
		"revoked master": {change: func(p *openpgp.Entity, m []*openpgp.Entity) { certify(t, p, born, m[:3]...); revoke(t, m[0]) },
			want: "certified by 2 of"},
		"expired packager": {lifetime: 3 * day, change: func(p *openpgp.Entity, m []*openpgp.Entity) { certify(t, p, born, m...) },
			want: "the key has expired"},
		"expired packager, judged at signing": {lifetime: 3 * day, atSigning: true,
			change: func(p *openpgp.Entity, m []*openpgp.Entity) { certify(t, p, born, m...) }},
		"forged certification": {change: func(p *openpgp.Entity, m []*openpgp.Entity) {
			other := newKey(t, "other", 0)
			certify(t, other, born, m[0])
			certify(t, p, born, m[1], m[2])
			id := p.PrimaryIdentity()
			id.Signatures = append(id.Signatures, other.PrimaryIdentity().Signatures...)
		}, want: "certified by 2 of"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			masters := []*openpgp.Entity{newKey(t, "a", 0), newKey(t, "b", 0), newKey(t, "c", 0), newKey(t, "d", 0)}
			packager := newKey(t, "p", tc.lifetime)
			by := packager
			if tc.byMaster {
				by = masters[0]
			}
			var sig bytes.Buffer
			if err := openpgp.DetachSign(&sig, by, strings.NewReader("data"), at(signed)); err != nil {
				t.Fatal(err)
			}
			if tc.change != nil {
				tc.change(packager, masters)
			}
			var trusted, revoked []string
			for _, m := range masters {
				trusted = append(trusted, fingerprint(m))
			}
			if tc.listed {
				revoked = []string{fingerprint(packager)}
			}
			w, err := NewWeb(ring(t, append(masters, packager)...), trusted, revoked)
			if err != nil {
				t.Fatal(err)
			}
			w.AtSigning = tc.atSigning
			good, err := w.VerifyDetached(strings.NewReader("data"), sig.Bytes(), today)
			switch {
			case tc.want == "" && (err != nil || len(good) != 1 || good[0].Fingerprint != fingerprint(by)):
				t.Errorf("%v, %v", good, err)
			case tc.want != "" && (fault.KindOf(err) != fault.Trust || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("%v, want %s", err, tc.want)
			}
			if _, err := w.VerifyDetached(strings.NewReader("other data"), sig.Bytes(), today); fault.KindOf(err) != fault.Trust {
				t.Errorf("other data: %v", err)
			}
		})
	}
}

func TestNewWebRefuses(t *testing.T) {
	t.Parallel()
	if _, err := NewWeb(ring(t, newKey(t, "a", 0)), []string{strings.Repeat("AB", 20)}, nil); fault.KindOf(err) != fault.Trust {
		t.Errorf("a master that is not there: %v", err)
	}
}

// TestMergedCertifications reads certifications that are spread over two files.
func TestMergedCertifications(t *testing.T) {
	t.Parallel()
	masters := []*openpgp.Entity{newKey(t, "a", 0), newKey(t, "b", 0), newKey(t, "c", 0)}
	packager := newKey(t, "p", 0)
	bare := export(t, false, packager)
	certify(t, packager, born, masters...)
	k, err := ReadKeys(export(t, false, masters...), export(t, false, packager), bare)
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWeb(k, []string{fingerprint(masters[0]), fingerprint(masters[1]), fingerprint(masters[2])}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var sig bytes.Buffer
	if err := openpgp.DetachSign(&sig, packager, strings.NewReader("data"), at(signed)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.VerifyDetached(strings.NewReader("data"), sig.Bytes(), today); err != nil {
		t.Error(err)
	}
}

// TestArchKeyring asks how many packagers the real keyring makes valid.
func TestArchKeyring(t *testing.T) {
	t.Parallel()
	var folder string
	for _, f := range []string{"/usr/share/pacman/keyrings", "/usr/share/keyrings"} {
		if _, err := os.Stat(filepath.Join(f, "archlinux.gpg")); err == nil {
			folder = f
		}
	}
	if folder == "" {
		t.Skip("no keyring of Arch Linux (Debian: archlinux-keyring)")
	}
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	fingerprints := func(text []byte) (all []string) {
		for line := range strings.Lines(string(text)) {
			f, _, _ := strings.Cut(strings.TrimSpace(line), ":")
			if f != "" && f[0] != '#' {
				all = append(all, f)
			}
		}
		return all
	}
	k, err := ReadKeys(read("archlinux.gpg"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWeb(k, fingerprints(read("archlinux-trusted")), fingerprints(read("archlinux-revoked")))
	if err != nil {
		t.Fatal(err)
	}
	// The keyring is of a certain day; its packagers were valid then, whatever has expired since.
	when := time.Date(2023, 2, 1, 0, 0, 0, 0, time.UTC)
	valid := 0
	why := make(map[string]int)
	for _, e := range k.keys {
		if err := w.valid(Signature{Fingerprint: fingerprintOf(e), Signer: fingerprintOf(e)}, when, when); err != nil {
			why[err.Error()]++
		} else {
			valid++
		}
	}
	t.Logf("%d keys, %d valid, the others: %v", len(k.keys), valid, why)
	if valid < 30 || valid == len(k.keys) {
		t.Errorf("%d of %d keys are valid", valid, len(k.keys))
	}
}
