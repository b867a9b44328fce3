package servertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Pair is the files of a certificate: its own, its private key's, and that of the authority which has signed it.
type Pair struct{ CA, Cert, Key string }

// Pairs makes a certificate for a server on loopback, and one for its clients, in a folder; one authority has signed both.
func Pairs(t testing.TB, dir string) (server, client Pair) {
	t.Helper()
	fail := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		fail(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	var authority *x509.Certificate
	var authorityKey *ecdsa.PrivateKey
	sign := func(n int64, name string, c *x509.Certificate) (p Pair) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		fail(err)
		c.SerialNumber, c.Subject = big.NewInt(n), pkix.Name{CommonName: name}
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
		if authority == nil {
			authority, authorityKey = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, authority, &key.PublicKey, authorityKey)
		fail(err)
		text, err := x509.MarshalPKCS8PrivateKey(key)
		fail(err)
		return Pair{filepath.Join(dir, "ca.pem"), write(name+".pem", "CERTIFICATE", der), write(name+"-key.pem", "PRIVATE KEY", text)}
	}
	sign(1, "ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	server = sign(2, "server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	client = sign(3, "client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return server, client
}

// Config is that of a server which takes clients with certificates of its authority, and others only where any may come.
func (p Pair) Config(t testing.TB, any bool) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(p.Cert, p.Key)
	text, e := os.ReadFile(p.CA)
	if err := errors.Join(err, e); err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}, ClientCAs: x509.NewCertPool(), ClientAuth: tls.RequireAndVerifyClientCert}
	c.ClientCAs.AppendCertsFromPEM(text)
	if any {
		c.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return c
}

// Front speaks TLS for a server that does not, until the test ends, and returns its address.
func Front(t testing.TB, behind string, c *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", c)
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	over := false
	hold := func(c net.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		open = append(open, c)
		return !over
	}
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		over = true
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wait.Wait()
	})
	wait.Go(func() {
		for {
			outer, err := l.Accept()
			if err != nil {
				return
			}
			inner, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", behind)
			if err != nil {
				outer.Close()
				continue
			}
			if !hold(outer) || !hold(inner) {
				outer.Close()
				inner.Close()
				return
			}
			for _, way := range [][2]net.Conn{{outer, inner}, {inner, outer}} {
				wait.Go(func() {
					_, _ = io.Copy(way[1], way[0]) // either may go away
					way[0].Close()
					way[1].Close()
				})
			}
		}
	})
	return l.Addr().String()
}
