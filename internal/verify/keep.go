package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/crypto/ssh"

	"ingot/internal/fault"
	"ingot/internal/machine"
)

// State is how to reach a machine that was kept; it is saved as StateFile while the machine runs.
type State struct {
	PID     int    `json:"pid"` // of QEMU
	SSH     string `json:"ssh"` // host:port
	User    string `json:"user"`
	Key     string `json:"key"`     // file with the private key, beside the state
	HostKey string `json:"hostKey"` // authorized_keys format; "" where nobody could log in
	Legacy  bool   `json:"legacy"`
}

const keyFile = "machine.key"

// kept is a machine that outlives its test.
type kept struct {
	machine *machine.Machine
	clear   func()
}

// keep writes down how to reach the machine.
func (t *test) keep() error {
	t.verdict.kept = &kept{t.machine, t.clear}
	state, key := filepath.Join(t.Dir, StateFile), filepath.Join(t.Dir, keyFile)
	t.undo(func() { os.Remove(state); os.Remove(key) })
	s := State{PID: t.machine.PID(), SSH: t.machine.SSH(), User: t.User, Key: keyFile, Legacy: t.SSH.Legacy, HostKey: t.hostKey}
	data, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = renameio.WriteFile(key, t.key.private, 0o600, renameio.WithTempDir(t.Dir))
	}
	if err == nil {
		err = renameio.WriteFile(state, append(data, '\n'), 0o600, renameio.WithTempDir(t.Dir))
	}
	if err != nil {
		t.clear()
		t.verdict.kept = nil
		return fmt.Errorf("keeping the machine: %w", err)
	}
	return nil
}

func (k *kept) wait(ctx context.Context) error {
	defer k.clear()
	select {
	case <-k.machine.Exited():
		return k.machine.Wait(ctx)
	case <-ctx.Done(): // how people end it
		return k.machine.Shutdown(context.WithoutCancel(ctx))
	}
}

// ReadState returns how to reach the machine kept in a folder.
func ReadState(dir string) (*State, error) {
	data, err := os.ReadFile(filepath.Join(dir, StateFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fault.New(fault.Missing, fmt.Errorf("no machine is kept in %s", dir), "ingot boot --keep leaves one running")
	} else if err != nil {
		return nil, err
	}
	s := new(State)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("reading %s in %s: %w", StateFile, dir, err)
	}
	return s, nil
}

// connect logs in to the machine kept in a folder.
func connect(ctx context.Context, dir string) (*guest, error) {
	s, err := ReadState(dir)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, filepath.Base(s.Key)))
	if err != nil {
		return nil, err
	}
	key, err := parseKeyPair(data)
	if err != nil {
		return nil, err
	}
	var host ssh.PublicKey
	if s.HostKey != "" {
		if host, _, _, _, err = ssh.ParseAuthorizedKey([]byte(s.HostKey)); err != nil {
			return nil, fmt.Errorf("reading the host key in %s: %w", StateFile, err)
		}
	}
	g, err := dial(ctx, s.SSH, s.User, key, host, s.Legacy)
	if err != nil {
		return nil, fault.New(fault.Unreachable, fmt.Errorf("reaching the machine in %s: %w", dir, err),
			"its console is in "+filepath.Join(dir, ConsoleFile))
	}
	return g, nil
}
