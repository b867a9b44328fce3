package machine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
)

// messageLimit bounds one QMP message; QEMU sends each on a line of its own.
const messageLimit = 1 << 20

// qmp is a client of the QEMU Machine Protocol (docs/interop/qmp-spec.txt): JSON objects, one command at a
// time, with events in between.
type qmp struct {
	conn    net.Conn
	event   func(name string, data []byte)
	replies chan reply
	dead    chan struct{} // closed when the connection has ended

	mu sync.Mutex // held while a command runs
	id int64      // of the last command
}

type reply struct {
	ID     int64           `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event    string          `json:"event"`
	Data     json.RawMessage `json:"data"`
	Greeting json.RawMessage `json:"QMP"`
}

var errClosed = errors.New("QEMU closed its control connection")

// newQMP takes over conn, waits for QEMU's greeting and leaves the negotiation mode. The event function is
// called from the connection's reader: it must not run commands itself.
func newQMP(ctx context.Context, conn net.Conn, event func(name string, data []byte)) (*qmp, error) {
	q := &qmp{conn: conn, event: event, replies: make(chan reply, 16), dead: make(chan struct{})}
	greeted := make(chan struct{})
	go q.read(greeted)
	select {
	case <-greeted:
	case <-q.dead:
		return nil, errClosed
	case <-ctx.Done():
		conn.Close()
		return nil, fmt.Errorf("waiting for QEMU's greeting: %w", context.Cause(ctx))
	}
	if err := q.run(ctx, "qmp_capabilities", nil, nil); err != nil {
		conn.Close()
		return nil, err
	}
	return q, nil
}

// read hands out what QEMU sends until the connection ends.
func (q *qmp) read(greeted chan<- struct{}) {
	defer close(q.dead)
	defer q.conn.Close()
	in := bufio.NewScanner(q.conn)
	in.Buffer(nil, messageLimit)
	hello := false
	for in.Scan() {
		var r reply
		if json.Unmarshal(in.Bytes(), &r) != nil {
			return // not QMP: nothing that follows can be trusted
		}
		switch {
		case r.Event != "":
			q.event(r.Event, r.Data)
		case len(r.Greeting) > 0:
			if !hello {
				close(greeted)
			}
			hello = true
		default:
			q.deliver(r)
		}
	}
}

// deliver hands a reply to the command that waits for it. One whose command gave up stays for the next
// command to skip; only a QEMU that sends replies nobody asked for fills the channel.
func (q *qmp) deliver(r reply) {
	select {
	case q.replies <- r:
	default:
	}
}

// run executes a command and decodes what it returns into result, unless that is nil.
func (q *qmp) run(ctx context.Context, command string, args, result any) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.id++
	msg, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        int64  `json:"id"`
	}{command, args, q.id})
	if err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = q.conn.SetWriteDeadline(deadline)
	}
	if _, err := q.conn.Write(append(msg, '\n')); err != nil {
		return fmt.Errorf("telling QEMU to %s: %w", command, err)
	}
	for {
		select {
		case r := <-q.replies:
			switch {
			case r.ID != q.id: // of a command that gave up
			case r.Error != nil:
				return fmt.Errorf("telling QEMU to %s: %s", command, r.Error.Desc)
			case result != nil:
				return json.Unmarshal(r.Return, result)
			default:
				return nil
			}
		case <-q.dead:
			return fmt.Errorf("telling QEMU to %s: %w", command, errClosed)
		case <-ctx.Done():
			return fmt.Errorf("telling QEMU to %s: %w", command, context.Cause(ctx))
		}
	}
}

// field returns the text of one member of a JSON object, or "".
func field(object []byte, name string) string {
	var members map[string]any
	_ = json.Unmarshal(object, &members)
	text, _ := members[name].(string)
	return text
}
