package notify

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"ingot/internal/factory"
	"ingot/internal/fault"
	"ingot/internal/publish"
)

var message = &factory.Message{Event: "failed", Pipeline: "web", Run: "7", Title: "web: run 7 failed – twice", Error: "boot: no kernel", Hint: "look at it",
	Console: []string{"loading", "grub rescue>"}, Link: "https://ami.example.org/runs/7"}

// teller returns the teller of a URL.
func teller(t *testing.T, text string, clients publish.Clients) factory.Teller {
	t.Helper()
	all, err := New([]string{text}, clients)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	status := http.StatusNoContent
	var got factory.Message
	var key string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key = r.Header.Get("Idempotency-Key")
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil || r.Method != http.MethodPost || r.URL.Path != "/hooks/secret" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "because")
	}))
	defer server.Close()
	hook := teller(t, server.URL+"/hooks/secret", nil)
	if err := hook.Tell(t.Context(), message, "token"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(*message, got); d != "" || key != "token" {
		t.Errorf("key %q: %s", key, d)
	}
	for code, kind := range map[int]fault.Kind{503: fault.Unreachable, 429: fault.Unreachable, 404: fault.Input, 301: fault.Input, 307: fault.Input} {
		status = code
		err := hook.Tell(t.Context(), message, "token")
		if fault.KindOf(err) != kind || !strings.Contains(err.Error(), "because") || strings.Contains(err.Error()+hook.Name(), "secret") {
			t.Errorf("%d: %v", code, err)
		}
	}
	server.Close()
	if err := hook.Tell(t.Context(), message, "token"); fault.KindOf(err) != fault.Unreachable || strings.Contains(err.Error(), "secret") {
		t.Errorf("nobody is there: %v", err)
	}
}

// serveMail takes one message, as a mail server does, and refuses a recipient called nobody.
func serveMail(t *testing.T) (address string, received <-chan string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	said := make(chan string, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			converse(c, said)
		}
	}()
	return l.Addr().String(), said
}

func converse(c net.Conn, said chan<- string) {
	defer c.Close()
	in := bufio.NewReader(c)
	_, _ = io.WriteString(c, "220 test\r\n")
	var session, text strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		session.WriteString(line)
		answer := "250 fine"
		switch word := strings.ToUpper(strings.TrimSpace(line)); {
		case strings.Contains(word, "NOBODY"):
			answer = "550 no such user"
		case strings.HasPrefix(word, "EHLO"):
			answer = "250-test\r\n250 AUTH PLAIN"
		case strings.HasPrefix(word, "AUTH"):
			answer = "235 welcome"
		case word == "DATA":
			_, _ = io.WriteString(c, "354 go on\r\n")
			for line != ".\r\n" {
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
				text.WriteString(line)
			}
		case word == "QUIT":
			said <- session.String() + "\x00" + strings.TrimSuffix(text.String(), ".\r\n")
			answer = "221 bye"
		}
		_, _ = io.WriteString(c, answer+"\r\n")
	}
}

func TestMail(t *testing.T) {
	t.Parallel()
	address, received := serveMail(t)
	m := teller(t, "smtp://me:secret@"+address+"/?from=ingot@example.org&to="+url.QueryEscape("A <a@example.org>, b@example.org"), nil)
	if err := m.Tell(t.Context(), message, "TOKEN of 7"); err != nil {
		t.Fatal(err)
	}
	session, text, _ := strings.Cut(<-received, "\x00")
	for _, want := range []string{"AUTH PLAIN AG1lAHNlY3JldA==", "MAIL FROM:<ingot@example.org>", "RCPT TO:<a@example.org>", "RCPT TO:<b@example.org>"} {
		if !strings.Contains(session, want) {
			t.Errorf("the session has no %s:\n%s", want, session)
		}
	}
	mail, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(mail.Header.Get("Subject"))
	if err != nil || subject != message.Title || mail.Header.Get("Message-ID") != "<token.of.7@example.org>" {
		t.Errorf("%q %v: %v", subject, mail.Header, err)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(mail.Body))
	if err != nil || strings.ReplaceAll(string(body), "\r\n", "\n") != message.Text() || !strings.Contains(string(body), "grub rescue>") {
		t.Errorf("%v:\n%s", err, body)
	}
	refused := teller(t, "smtp://"+address+"/?from=ingot@example.org&to=nobody@example.org", nil)
	if err := refused.Tell(t.Context(), message, "t"); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "no such user") {
		t.Errorf("refused: %v", err)
	}
}

func TestMailEnds(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	began := time.Now()
	err = teller(t, "smtp://"+silent.Addr().String()+"/?from=a@example.org&to=b@example.org", nil).Tell(ctx, message, "t")
	if took := time.Since(began); !errors.Is(err, context.Canceled) || took > limit/2 {
		t.Errorf("a server that says nothing, after %v: %v", took, err)
	}
	address, _ := serveMail(t)
	m := teller(t, "smtp://"+address+"/?from=a@example.org&to=b@example.org", nil).(*mailer)
	m.host = "mail.example.org"
	if err := m.Tell(t.Context(), message, "t"); fault.KindOf(err) != fault.Input || !errors.Is(err, errInTheClear) {
		t.Errorf("a server elsewhere without STARTTLS: %v", err)
	}
}

func TestTopic(t *testing.T) {
	t.Parallel()
	var form url.Values
	answer := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		form = r.Form
		w.WriteHeader(answer)
		if answer == http.StatusOK {
			_, _ = io.WriteString(w, `<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>`)
			return
		}
		_, _ = io.WriteString(w, `<ErrorResponse><Error><Code>AuthorizationError</Code><Message>no</Message></Error></ErrorResponse>`)
	}))
	defer server.Close()
	clients := publish.New(aws.Config{BaseEndpoint: &server.URL, Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
	const arn = "arn:aws:sns:eu-west-1:123456789012:releases"
	topic := teller(t, "sns://eu-west-1/"+arn, clients)
	if err := topic.Tell(t.Context(), message, "token"); err != nil {
		t.Fatal(err)
	}
	var forms map[string]string
	if err := json.Unmarshal([]byte(form.Get("Message")), &forms); err != nil {
		t.Fatal(err)
	}
	if form.Get("Action") != "Publish" || form.Get("TopicArn") != arn || form.Get("Subject") != "web: run 7 failed ? twice" || forms["email"] != message.Text() || !json.Valid([]byte(forms["default"])) {
		t.Errorf("SNS gets %v", form)
	}
	answer = http.StatusForbidden
	if err := topic.Tell(t.Context(), message, "token"); fault.KindOf(err) == fault.Unreachable || !strings.Contains(err.Error(), "sns:Publish") {
		t.Errorf("denied: %v", err)
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	clients := publish.New(aws.Config{})
	for _, text := range []string{"https:secret", "ftp://host/secret", "smtp://host/?to=secret", "smtp://host/?from=a@example.org", "sns://eu-west-1/secret", "://"} {
		if _, err := New([]string{text}, clients); fault.KindOf(err) != fault.Usage {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := New([]string{"https://a.example.org/1", "https://a.example.org/2"}, clients); fault.KindOf(err) != fault.Usage {
		t.Errorf("the same twice: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := teller(t, "smtp://127.0.0.1:1/?from=a@example.org&to=b@example.org", nil).Tell(ctx, message, "t"); err == nil {
		t.Error("a cancelled message was sent")
	}
}
