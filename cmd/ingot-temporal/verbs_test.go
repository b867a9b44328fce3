package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ingot/cmd/ingot-temporal/servertest"
	"ingot/internal/cli"
	"ingot/internal/cli/clitest"
	"ingot/internal/fault"
)

func TestDryRun(t *testing.T) {
	t.Parallel()
	root := root()
	root.AddCommand(verbs(&cli.Kit{})...)
	clitest.DryRun(t, root, "worker", "status")
}

// greeter is as much of a Temporal server as clients ask for when they connect.
type greeter struct {
	mu           sync.Mutex
	client, auth string // of the last request
}

// ServeHTTP answers GetSystemInfo with nothing, as gRPC has it: a message of no bytes.
func (g *greeter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.client, g.auth = "", r.Header.Get("Authorization")
	if all := r.TLS.PeerCertificates; len(all) > 0 {
		g.client = all[0].Subject.CommonName
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	_, _ = w.Write(make([]byte, 5)) // the client may be gone
	w.Header().Set("Grpc-Status", "0")
}

// Clients come with a certificate or with a key, trust the authority that they are told to, and say what is wrong otherwise.
func TestDial(t *testing.T) {
	dir := t.TempDir()
	own, client := servertest.Pairs(t, dir)
	g := &greeter{}
	there := httptest.NewUnstartedServer(g)
	there.EnableHTTP2, there.TLS = true, own.Config(t, true)
	there.StartTLS()
	defer there.Close()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		server       server
		apiKey       string
		client, auth string // that the server sees
		text         string // of the error
		kind         fault.Kind
	}{
		{server: server{ca: own.CA, cert: client.Cert, key: client.Key}, client: "client"},
		{server: server{ca: own.CA}, apiKey: "secret", auth: "Bearer secret"},
		{server: server{ca: own.CA}},
		{server: server{cert: client.Cert, key: client.Key}, text: "certificate signed by unknown authority", kind: fault.Unreachable},
		{server: server{}, text: "connecting to Temporal at 127.0.0.1:", kind: fault.Unreachable},
		{server: server{ca: empty}, text: "holds no certificate", kind: fault.Usage},
		{server: server{ca: filepath.Join(dir, "none")}, text: "--tls-ca: open ", kind: fault.Missing},
		{server: server{ca: own.CA, cert: client.Cert}, text: "--tls-cert: ", kind: fault.Usage},
		{server: server{ca: own.CA, cert: client.Cert, key: own.Key}, text: "--tls-cert: ", kind: fault.Usage},
	} {
		t.Setenv("TEMPORAL_API_KEY", c.apiKey)
		c.server.kit, c.server.address = &cli.Kit{}, there.Listener.Addr().String()
		g.client, g.auth = "", ""
		conn, err := c.server.dial(t.Context())
		if c.text != "" {
			if err == nil || !strings.Contains(err.Error(), c.text) || fault.KindOf(err) != c.kind {
				t.Errorf("%+v: %v (%v), not %q", c.server, err, fault.KindOf(err), c.text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", c.server, err)
			continue
		}
		conn.Close()
		if g.client != c.client || g.auth != c.auth {
			t.Errorf("%+v: the server sees the client %q with %q", c.server, g.client, g.auth)
		}
	}
}
