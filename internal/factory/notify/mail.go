package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"ingot/internal/factory"
	"ingot/internal/fault"
)

// mailer sends e-mail (RFC 5321, RFC 5322).
type mailer struct {
	host, address string
	tls           bool // from the beginning
	auth          smtp.Auth
	from          *mail.Address
	to            []*mail.Address
}

func newMail(u *url.URL) (*mailer, error) {
	m := &mailer{host: u.Hostname(), tls: u.Scheme == "smtps"}
	port := u.Port()
	if port == "" {
		port = map[bool]string{false: "587", true: "465"}[m.tls]
	}
	m.address = net.JoinHostPort(m.host, port)
	if u.User != nil {
		password, _ := u.User.Password()
		m.auth = smtp.PlainAuth("", u.User.Username(), password, m.host)
	}
	var err error
	if m.from, err = mail.ParseAddress(u.Query().Get("from")); err == nil {
		m.to, err = mail.ParseAddressList(u.Query().Get("to"))
	}
	if err != nil {
		return nil, fault.New(fault.Usage, fmt.Errorf("e-mail through %s: from or to is no address: %w", m.host, err), "write smtp://HOST/?from=ingot@example.org&to=you@example.org")
	}
	return m, nil
}

// Name implements factory.Teller.
func (m *mailer) Name() string { return "mail to " + m.to[0].Address + " through " + m.host }

// Tell implements factory.Teller. The token becomes the message's id, so that a repeated message is known by it.
func (m *mailer) Tell(ctx context.Context, msg *factory.Message, token string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %v", limit))
	defer cancel()
	err := m.send(ctx, m.compose(msg, token, time.Now()))
	if err == nil {
		return nil
	}
	if ctx.Err() != nil { // which has closed the connection
		err = context.Cause(ctx)
	}
	var answer *textproto.Error
	final := errors.Is(err, errInTheClear) || errors.As(err, &answer) && answer.Code >= 500
	return failed(m.Name(), !final, err)
}

var errInTheClear = errors.New("the server offers no STARTTLS, and nothing is sent in the clear")

func (m *mailer) send(ctx context.Context, text []byte) error {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.address)
	if err != nil {
		return err
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })() // package smtp knows no contexts
	conn := raw
	if m.tls {
		conn = tls.Client(conn, &tls.Config{ServerName: m.host, MinVersion: tls.VersionTLS12})
	}
	c, err := smtp.NewClient(conn, m.host)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing after Quit
	if !m.tls {
		if ok, _ := c.Extension("STARTTLS"); ok {
			if err := c.StartTLS(&tls.Config{ServerName: m.host, MinVersion: tls.VersionTLS12}); err != nil {
				return err
			}
		} else if ip := net.ParseIP(m.host); m.host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return errInTheClear
		}
	}
	if m.auth != nil {
		if err := c.Auth(m.auth); err != nil {
			return err
		}
	}
	if err := c.Mail(m.from.Address); err != nil {
		return err
	}
	for _, to := range m.to {
		if err := c.Rcpt(to.Address); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// compose writes the message down.
func (m *mailer) compose(msg *factory.Message, token string, now time.Time) []byte {
	var b strings.Builder
	var to []string
	for _, a := range m.to {
		to = append(to, a.String())
	}
	_, domain, _ := strings.Cut(m.from.Address, "@")
	id := strings.ToLower(strings.Join(strings.Fields(token), "."))
	for _, h := range [][2]string{
		{"From", m.from.String()}, {"To", strings.Join(to, ", ")}, {"Subject", mime.QEncoding.Encode("utf-8", strings.Join(strings.Fields(msg.Title), " "))},
		{"Date", now.Format(time.RFC1123Z)}, {"Message-ID", "<" + id + "@" + domain + ">"}, {"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "quoted-printable"}, {"Auto-Submitted", "auto-generated"},
	} {
		b.WriteString(h[0] + ": " + h[1] + "\r\n")
	}
	b.WriteString("\r\n")
	q := quotedprintable.NewWriter(&b)
	_, _ = q.Write([]byte(msg.Text())) // a strings.Builder takes everything
	_ = q.Close()
	return []byte(b.String())
}
