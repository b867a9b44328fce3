package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func connected(t testing.TB) (*conn, *conn) {
	t.Helper()
	a, f, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	b, err := newConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestFrames(t *testing.T) {
	a, b := connected(t)
	// Larger than what the socket holds, and one with files after one without.
	long := strings.Repeat("word ", 300_000)
	go func() {
		a.send(request{Args: []string{long}})
		a.send(request{Args: []string{"second"}}, os.Stdin, os.Stdout, os.Stderr)
		a.Close()
	}()
	var r request
	files, err := b.receive(&r)
	if err != nil || len(files) != 0 || r.Args[0] != long {
		t.Errorf("the first frame: %v, %d files", err, len(files))
	}
	files, err = b.receive(&r)
	if err != nil || len(files) != maxFiles || r.Args[0] != "second" {
		t.Errorf("the second frame: %v, %d files", err, len(files))
	}
	closeAll(files)
	if _, err := b.receive(&r); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
	if err := b.send(request{Args: []string{strings.Repeat("x", maxFrame)}}); !errors.Is(err, unix.E2BIG) {
		t.Errorf("a frame that is too long: %v", err)
	}
}

// What a process inside may say in place of a lane does no harm outside.
func FuzzReceive(f *testing.F) {
	frame := func(body string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	}
	f.Add(frame(`{"Started":true}`))
	f.Add(frame(`{"Code":-1,"Signal":99999,"Failure":{"Text":"x","Errno":2}}`))
	f.Add(frame(`{`))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		a, b := connected(t)
		go func() {
			io.Copy(a, bytes.NewReader(data))
			a.Close()
		}()
		for {
			var r reply
			files, err := b.receive(&r)
			closeAll(files)
			if err != nil {
				return
			}
			_ = (&ExitError{Code: r.Code, Signal: r.Signal}).Error()
		}
	})
}
