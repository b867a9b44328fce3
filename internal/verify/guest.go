package verify

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// keyPair is a throwaway key that the guest gets through its metadata.
type keyPair struct {
	signer     ssh.Signer
	authorized string // in authorized_keys format, without a newline
	private    []byte // OpenSSH format
}

// newKeyPair makes an Ed25519 key, or for legacy servers an RSA one.
func newKeyPair(legacy bool) (*keyPair, error) {
	var private crypto.PrivateKey
	var err error
	if legacy {
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		_, private, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		return nil, fmt.Errorf("making a key pair: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "ingot boot test")
	if err != nil {
		return nil, fmt.Errorf("making a key pair: %w", err)
	}
	return parseKeyPair(pem.EncodeToMemory(block))
}

func parseKeyPair(private []byte) (*keyPair, error) {
	signer, err := ssh.ParsePrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("reading a private key: %w", err)
	}
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	return &keyPair{signer, public, private}, nil
}

// Limits of one attempt to log in. A guest on TCG takes seconds for what a processor does in milliseconds.
const (
	bannerLimit    = 5 * time.Second // QEMU accepts connections long before the guest does
	handshakeLimit = 60 * time.Second
	retryPause     = 500 * time.Millisecond
)

// guest is a login on the machine.
type guest struct {
	client  *ssh.Client
	hostKey string // fingerprint
	key     ssh.PublicKey
}

func (g *guest) close() { _ = g.client.Close() }

// login tries until a user can log in or the context ends.
func (t *test) login(ctx context.Context) (*guest, error) {
	var last error
	for {
		g, err := dial(ctx, t.machine.SSH(), t.User, t.key, nil, t.SSH.Legacy)
		if err == nil {
			t.watch.Reached("sshd") // units come and go unseen on a console that others write to
			return g, nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return nil, cmp.Or(last, context.Cause(ctx))
		case <-time.After(retryPause):
		}
	}
}

var errSilent = errors.New("no SSH server answers")

// dial logs in once. A nil host key accepts any.
func dial(ctx context.Context, addr, user string, key *keyPair, hostKey ssh.PublicKey, legacy bool) (*guest, error) {
	g := &guest{}
	config := &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key.signer)},
		HostKeyCallback: func(_ string, _ net.Addr, met ssh.PublicKey) error {
			if hostKey != nil && !bytes.Equal(met.Marshal(), hostKey.Marshal()) {
				return errors.New("the host key is not the one met at boot")
			}
			g.key, g.hostKey = met, ssh.FingerprintSHA256(met)
			return nil
		}}
	if legacy {
		ok, old := ssh.SupportedAlgorithms(), ssh.InsecureAlgorithms()
		config.KeyExchanges = append(ok.KeyExchanges, old.KeyExchanges...)
		config.Ciphers = append(ok.Ciphers, old.Ciphers...)
		config.MACs = append(ok.MACs, old.MACs...)
		config.HostKeyAlgorithms = append(ok.HostKeys, old.HostKeys...)
	}
	raw, err := (&net.Dialer{Timeout: bannerLimit}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSilent, err)
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	conn := &peeked{raw, bufio.NewReader(raw)}
	_ = raw.SetDeadline(time.Now().Add(bannerLimit))
	if _, err := conn.r.Peek(1); err != nil {
		raw.Close()
		return nil, errSilent
	}
	_ = raw.SetDeadline(time.Now().Add(handshakeLimit))
	c, channels, requests, err := ssh.NewClientConn(conn, addr, config)
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("logging in as %s: %w", user, err)
	}
	_ = raw.SetDeadline(time.Time{})
	g.client = ssh.NewClient(c, channels, requests)
	return g, nil
}

// peeked is a connection of which the first bytes have been looked at.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

// run executes a command with a text as its input. It returns what the command printed, up to a limit,
// and its exit status; err is for commands that could not be run to their end.
func (g *guest) run(ctx context.Context, command, input string, limit int) (out string, status int, err error) {
	s, err := g.client.NewSession()
	if err != nil {
		return "", 0, fmt.Errorf("opening a session: %w", err)
	}
	defer func() { _ = s.Close() }() // a session that has ended closes with an error
	buf := &head{left: limit}
	s.Stdin, s.Stdout, s.Stderr = strings.NewReader(input), buf, buf
	if err := s.Start(command); err != nil {
		return "", 0, fmt.Errorf("starting a command: %w", err)
	}
	done := make(chan struct{})
	var ended error
	go func() {
		defer close(done)
		ended = s.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		_ = s.Close()
		g.abandon(done)
		return buf.String(), 0, context.Cause(ctx)
	}
	var exit *ssh.ExitError
	if errors.As(ended, &exit) {
		return buf.String(), exit.ExitStatus(), nil
	}
	return buf.String(), 0, ended
}

// abandon waits for a closed session to end; a guest that hangs does not answer, and loses the connection.
func (g *guest) abandon(done <-chan struct{}) {
	select {
	case <-done:
	case <-time.After(bannerLimit):
		g.close()
		<-done
	}
}

// head keeps the first bytes written to it and swallows the rest. A session writes its standard output and
// error from two goroutines.
type head struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	left int
}

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(len(p), h.left)
	h.buf.Write(p[:n])
	h.left -= n
	return len(p), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.buf.String()
}
