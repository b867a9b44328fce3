package sandbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// maxFrame bounds what one side accepts from the other. The kernel refuses commands whose arguments and
// environment pass 6 MiB (execve(2)); a process inside is not to be trusted with more of our memory.
const maxFrame = 8 << 20

// maxFiles is the largest number of files that travel with one frame: standard input, output and error.
const maxFiles = 3

// conn carries frames between a sandbox's owner and its helpers: a length in 4 bytes, big-endian, and JSON.
// Open files ride on the length (SCM_RIGHTS, unix(7)).
type conn struct{ *net.UnixConn }

func (c *conn) Close() { _ = c.UnixConn.Close() } // nothing is left to be lost

// newConn takes over f, one end of a socket pair.
func newConn(f *os.File) (*conn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("descriptor %d is not a Unix socket", f.Fd())
	}
	return &conn{u}, nil
}

// pair returns the two ends of a new connection: ours, and the one to hand to a helper.
func pair() (*conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "socket")
	ours, err := newConn(os.NewFile(uintptr(fds[0]), "socket"))
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// send writes one frame. Calls must not overlap.
func (c *conn) send(v any, files ...*os.File) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxFrame {
		return fmt.Errorf("a message of %d bytes: %w", len(body), unix.E2BIG)
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	n, _, err := c.WriteMsgUnix(frame, rights, nil)
	if err != nil {
		return err
	}
	_, err = c.Write(frame[n:])
	return err
}

// receive reads one frame into v and returns the files that came with it. The end of the connection is io.EOF.
func (c *conn) receive(v any) ([]*os.File, error) {
	var head [4]byte
	rights := make([]byte, unix.CmsgSpace(maxFiles*4))
	n, nr, _, _, err := c.ReadMsgUnix(head[:], rights)
	if err != nil {
		if errors.Is(err, unix.ECONNRESET) {
			err = io.EOF
		}
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	files, err := openFiles(rights[:nr])
	if err == nil {
		err = c.body(head[:], n, v)
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

// body reads what is left of a frame after the first n bytes of its head.
func (c *conn) body(head []byte, n int, v any) error {
	if _, err := io.ReadFull(c, head[n:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head)
	if size > maxFrame {
		return fmt.Errorf("a message of %d bytes: %w", size, unix.E2BIG)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c, body); err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}

func openFiles(rights []byte) ([]*os.File, error) {
	msgs, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // a message of another type carries no files
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
