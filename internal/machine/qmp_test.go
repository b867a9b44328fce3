package machine

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// fakeQEMU answers each command by what answer returns for its line; "" is silence.
func fakeQEMU(t *testing.T, greeting string, answer func(line string) string) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { theirs.Close() })
	go func() {
		fmt.Fprintln(theirs, greeting)
		in := bufio.NewScanner(theirs)
		for in.Scan() {
			if a := answer(in.Text()); a == "hang up" {
				theirs.Close()
			} else if a != "" {
				fmt.Fprintln(theirs, a)
			}
		}
	}()
	return ours
}

const greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": []}}`

func TestQMP(t *testing.T) {
	t.Parallel()
	events := make(chan string, 8)
	late := make(chan string, 1)
	conn := fakeQEMU(t, greeting, func(line string) string {
		id := line[strings.LastIndex(line, ":")+1 : len(line)-1]
		switch {
		case strings.Contains(line, "qmp_capabilities"), strings.Contains(line, "cont"):
			return `{"return": {}, "id": ` + id + `}`
		case strings.Contains(line, "query-status"):
			return `{"event": "RESUME", "data": {}}` + "\n" +
				`{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}` + "\n" +
				<-late + "\n" + `{"return": {"status": "running"}, "id": ` + id + `}`
		case strings.Contains(line, "slow"):
			late <- `{"return": {"status": "stale"}, "id": ` + id + `}`
			return ""
		case strings.Contains(line, "die"):
			return "hang up"
		}
		return `{"error": {"class": "CommandNotFound", "desc": "The command is not known"}, "id": ` + id + `}`
	})
	ctx := context.Background()
	q, err := newQMP(ctx, conn, func(name string, data []byte) { events <- name + " " + field(data, "reason") })
	if err != nil {
		t.Fatal(err)
	}
	if err := q.run(ctx, "bogus", nil, nil); err == nil || !strings.Contains(err.Error(), "bogus: The command is not known") {
		t.Errorf("bogus: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := q.run(short, "slow", nil, nil); err == nil {
		t.Error("a command without a reply ended well")
	}
	var state struct{ Status string }
	if err := q.run(ctx, "query-status", map[string]int{"a": 1}, &state); err != nil || state.Status != "running" {
		t.Errorf("status %q, %v: took the reply of an earlier command?", state.Status, err)
	}
	if a, b := <-events, <-events; a != "RESUME " || b != "SHUTDOWN guest-shutdown" {
		t.Errorf("events %q, %q", a, b)
	}
	if err := q.run(ctx, "die", nil, nil); err == nil {
		t.Error("a command survived the connection")
	}
	if err := q.run(ctx, "cont", nil, nil); err == nil {
		t.Error("a command ran without a connection")
	}
}

func TestQMPGreeting(t *testing.T) {
	t.Parallel()
	for name, greeting := range map[string]string{"not JSON": "SSH-2.0-OpenSSH", "silence": "", "too long": strings.Repeat("x", 2<<20)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			if _, err := newQMP(ctx, fakeQEMU(t, greeting, func(string) string { return "" }), nil); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestParseForward(t *testing.T) {
	t.Parallel()
	table := "Hub -1 (net):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n" +
		"  UDP[1 sec]  12 10.0.2.15 68 10.0.2.2 67 0 0\r\n  TCP[HOST_FORWARD]   3       127.0.0.1 44651       169.0.0.15    22     0     0\r\n"
	if got := parseForward(table); got != "127.0.0.1:44651" {
		t.Errorf("got %q", got)
	}
	if got := parseForward("TCP[HOST_FORWARD] 3"); got != "" {
		t.Errorf("got %q", got)
	}
}
