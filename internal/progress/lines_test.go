package progress

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	var got []string
	r := New(func(e Event) {
		if e.Kind == Output {
			got = append(got, e.Text)
		}
	})
	l := NewLines(r.Begin("x", 0, Items))
	if l.Said() != "it printed nothing" {
		t.Errorf("at first, it said %q", l.Said())
	}
	long := strings.Repeat("l", maxLine+1)
	for _, part := range []string{"o", "ne\ntwo\r\n\nbad\xff\n", long + "\n", "rest"} {
		if n, err := fmt.Fprint(l, part); n != len(part) || err != nil {
			t.Fatalf("%d of %d bytes written: %v", n, len(part), err)
		}
	}
	l.End()
	l.End()
	if want := []string{"one", "two", "", "bad�", long[1:], "rest"}; !slices.Equal(got, want) {
		t.Errorf("lines %.80q, want %.80q", got, want)
	}
	for i := range lastLines {
		fmt.Fprintln(l, i)
	}
	if said := l.Said(); !strings.HasPrefix(said, "its last lines were:\n\t0\n\t1\n") || !strings.HasSuffix(said, "\n\t19") {
		t.Errorf("at last, it said %q", said)
	}
}
