package cloudtest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"ingot/internal/region"
)

// Guests starts machines that are no machines: they print a console, and let in the user admin who has the launch's key.
type Guests struct {
	Port string // where their SSH servers listen

	mu      sync.Mutex
	console string
	started int
}

// Healthy is the console of a machine that boots.
const Healthy = "Linux version 6.1\nsystemd[1]: Startup finished\nhost login: "

// NewGuests returns guests that boot.
func NewGuests(t testing.TB) *Guests {
	t.Helper()
	probe, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	_, port, err := net.SplitHostPort(probe.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return &Guests{Port: port, console: Healthy}
}

// Says has the guests that are started from now on print something else.
func (g *Guests) Says(console string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.console = console
}

// Started returns how many were started.
func (g *Guests) Started() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.started
}

type guest struct {
	region.Running // nil: what a launch does not need
	net.Listener
	exited chan struct{}
	once   sync.Once
}

// Start implements region.Runner.
func (g *Guests) Start(ctx context.Context, l region.Launch) (region.Running, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(l.PublicIP, g.Port))
	if err != nil {
		return nil, err
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))); c.User() != "admin" || !strings.HasPrefix(l.PublicKey, line) {
			return nil, errors.New("another key")
		}
		return nil, nil
	}}
	config.AddHostKey(signer)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(c, config)
		}
	}()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.started++
	_, err = fmt.Fprint(l.Console, g.console)
	return &guest{Listener: listener, exited: make(chan struct{})}, err
}

// serve answers every command with success.
func serve(c net.Conn, config *ssh.ServerConfig) {
	defer c.Close()
	conn, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	for n := range channels {
		channel, requests, err := n.Accept()
		if err != nil {
			return
		}
		for rq := range requests {
			_ = rq.Reply(rq.Type == "exec", nil)
			if rq.Type == "exec" {
				_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
				channel.Close()
			}
		}
	}
}

// SSH implements region.Running.
func (g *guest) SSH() string { return g.Addr().String() }

// Exited implements region.Running.
func (g *guest) Exited() <-chan struct{} { return g.exited }

// Shutdown implements region.Running.
func (g *guest) Shutdown(context.Context) error {
	g.Kill()
	return nil
}

// Kill implements region.Running.
func (g *guest) Kill() {
	g.once.Do(func() {
		g.Close()
		close(g.exited)
	})
}
