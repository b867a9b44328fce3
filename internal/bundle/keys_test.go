package bundle

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"testing"
	"time"

	"ingot/internal/fault"
)

func TestAccountTakesHyphens(t *testing.T) {
	if got, err := Account("1234-5678-9012"); err != nil || got != "123456789012" {
		t.Error(got, err)
	}
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	user, _ := testKeys()
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(user)})
	for name, text := range map[string][]byte{"PKCS#1": pkcs1, "PKCS#8": pkcs8(user), "behind a certificate": append([]byte("a word\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), pkcs1...)} {
		if key, err := ParseKey(text); err != nil || !key.Equal(user) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string][]byte{
		"nothing":   nil,
		"EC":        pkcs8(ec),
		"cut short": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1, 2, 3}}),
		"encrypted": pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}),
		"old style": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte{1}, Headers: map[string]string{"DEK-Info": "AES-128-CBC,00"}}),
	} {
		if _, err := ParseKey(text); fault.KindOf(err) != fault.Input || fault.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeygen(t *testing.T) {
	t.Parallel()
	key, cert, err := Keygen("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	private, err := ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if public, err := ParseCertificate(cert); err != nil || !private.PublicKey.Equal(public.PublicKey) || public.N.BitLen() != 2048 {
		t.Error(err)
	}
	if _, err := ParseCertificate(key); fault.KindOf(err) != fault.Input {
		t.Error("a key as a certificate:", err)
	}
	dir := t.TempDir()
	if err := WriteKeys(dir+"/key", key, dir+"/cert", cert); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir + "/key"); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	if err := WriteKeys(dir+"/key2", key, dir+"/cert", cert); fault.KindOf(err) != fault.Exists {
		t.Error(err)
	}
	if got := names(t, dir); len(got) != 2 {
		t.Errorf("half a pair stays: %q", got)
	}
}
