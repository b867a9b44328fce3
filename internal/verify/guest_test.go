package verify

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/internal/fault"
)

// server is an SSH server that runs commands on this machine, for one key.
type server struct {
	key  *keyPair
	addr string
	host ssh.Signer
}

func newServer(t *testing.T, legacy bool) *server {
	t.Helper()
	key, err := newKeyPair(legacy)
	if err != nil {
		t.Fatal(err)
	}
	host, err := newKeyPair(legacy)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(k.Marshal(), key.signer.PublicKey().Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	if legacy { // what OpenSSH 5.3 of CentOS 6 knows
		config.KeyExchanges = []string{ssh.InsecureKeyExchangeDH14SHA1}
		config.Ciphers = []string{ssh.InsecureCipherAES128CBC}
		config.MACs = []string{ssh.HMACSHA1}
		config.PublicKeyAuthAlgorithms = []string{ssh.KeyAlgoRSA}
		sha1, err := ssh.NewSignerWithAlgorithms(host.signer.(ssh.AlgorithmSigner), []string{ssh.KeyAlgoRSA})
		if err != nil {
			t.Fatal(err)
		}
		config.AddHostKey(sha1)
	} else {
		config.AddHostKey(host.signer)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn, config)
		}
	}()
	return &server{key, l.Addr().String(), host.signer}
}

func serve(conn net.Conn, config *ssh.ServerConfig) {
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for ch := range channels {
		channel, requests, err := ch.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				if r.Type != "exec" {
					_ = r.Reply(false, nil)
					continue
				}
				_ = r.Reply(true, nil)
				var payload struct{ Command string }
				_ = ssh.Unmarshal(r.Payload, &payload)
				cmd := exec.Command("/bin/sh", "-c", payload.Command)
				cmd.Stdin, cmd.Stdout, cmd.Stderr = channel, channel, channel.Stderr()
				cmd.WaitDelay = time.Second
				_ = cmd.Run()
				status := binary.BigEndian.AppendUint32(nil, uint32(cmd.ProcessState.ExitCode()))
				_, _ = channel.SendRequest("exit-status", false, status)
				channel.Close()
			}
		}()
	}
}

func (s *server) login(t *testing.T) *guest {
	t.Helper()
	g, err := dial(context.Background(), s.addr, "admin", s.key, nil, s.key.signer.PublicKey().Type() == ssh.KeyAlgoRSA)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.close)
	return g
}

func TestGuestRun(t *testing.T) {
	t.Parallel()
	for name, legacy := range map[string]bool{"modern": false, "legacy": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, legacy)
			g := s.login(t)
			if g.hostKey != ssh.FingerprintSHA256(s.host.PublicKey()) {
				t.Errorf("met host key %s", g.hostKey)
			}
			ctx := context.Background()
			if out, status, err := g.run(ctx, "cat; exit 5", "hello", 100); out != "hello" || status != 5 || err != nil {
				t.Errorf("got %q, %d, %v", out, status, err)
			}
			if out, _, err := g.run(ctx, "yes | head -c 100000", "", 10); len(out) != 10 || err != nil {
				t.Errorf("got %d bytes, %v", len(out), err)
			}
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			if _, _, err := g.run(short, "sleep 3", "", 10); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a command outlived its context: %v", err)
			}
		})
	}
}

func TestDialRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	ctx := context.Background()
	other, err := newKeyPair(false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dial(ctx, s.addr, "admin", other, nil, false); err == nil || !strings.Contains(err.Error(), "logging in as admin") {
		t.Errorf("a wrong key: %v", err)
	}
	if _, err := dial(ctx, s.addr, "admin", s.key, other.signer.PublicKey(), false); err == nil || !strings.Contains(err.Error(), "host key") {
		t.Errorf("a wrong host key: %v", err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := dial(short, silent.Addr().String(), "admin", s.key, nil, false); !errors.Is(err, errSilent) {
		t.Errorf("a server that says nothing: %v", err)
	}
}

func TestSSH(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	dir := t.TempDir()
	ctx := context.Background()
	err := SSH(ctx, dir, []string{"true"}, nil, io.Discard, io.Discard)
	if fault.KindOf(err) != fault.Missing {
		t.Errorf("no machine: %v", err)
	}
	save := func(host ssh.PublicKey) {
		data, err := json.Marshal(State{SSH: s.addr, User: "admin", Key: keyFile, HostKey: string(ssh.MarshalAuthorizedKey(host))})
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string][]byte{StateFile: data, keyFile: s.key.private} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	save(s.host.PublicKey())
	var out, errOut bytes.Buffer
	err = SSH(ctx, dir, []string{"cat", "; echo no >&2; exit 4"}, strings.NewReader("typed"), &out, &errOut)
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Status != 4 || out.String() != "typed" || errOut.String() != "no\n" {
		t.Errorf("got %v, %q, %q", err, &out, &errOut)
	}
	if err := SSH(ctx, dir, []string{"true"}, nil, io.Discard, io.Discard); err != nil {
		t.Error(err)
	}
	save(s.key.signer.PublicKey())
	if err := SSH(ctx, dir, []string{"true"}, nil, io.Discard, io.Discard); fault.KindOf(err) != fault.Unreachable {
		t.Errorf("another host key: %v", err)
	}
}
