// Package notify tells people and programs of releases and failures: by webhook, by e-mail, and through Amazon SNS. Who
// is told is a URL each.
package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ingot/internal/factory"
	"ingot/internal/fault"
	"ingot/internal/publish"
)

// limit bounds one message, by any way.
const limit = 30 * time.Second

// New returns a teller for each URL:
//
//	https://… http://…                                  a webhook that gets the message as JSON
//	smtp://USER:PASSWORD@HOST:PORT/?from=A&to=B,C       e-mail; STARTTLS is required unless the host is this machine
//	smtps://…                                           the same, through TLS from the beginning
//	sns://REGION/TOPIC-ARN                              a topic of Amazon SNS
func New(urls []string, clients publish.Clients) (all []factory.Teller, err error) {
	names := map[string]bool{}
	for _, text := range urls {
		t, err := parse(text, clients)
		if err != nil {
			return nil, err
		}
		if names[t.Name()] {
			return nil, fault.Newf(fault.Usage, "%s would be told twice", t.Name())
		}
		names[t.Name()] = true
		all = append(all, t)
	}
	return all, nil
}

func parse(text string, clients publish.Clients) (factory.Teller, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		// The text is not repeated: it may hold a password.
		return nil, fault.New(fault.Usage, fmt.Errorf("an address to notify is no URL"), "write https://…, smtp://… or sns://REGION/TOPIC-ARN")
	}
	switch u.Scheme {
	case "https", "http":
		return &webhook{u}, nil
	case "smtp", "smtps":
		return newMail(u)
	case "sns":
		return newTopic(u, clients)
	}
	return nil, fault.New(fault.Usage, fmt.Errorf("nobody can be notified by %s", u.Scheme), "write https://…, smtp://… or sns://REGION/TOPIC-ARN")
}

// failed is the error of a message that did not arrive. transient says whether the other side may take it another time.
func failed(name string, transient bool, err error) error {
	kind := fault.Input
	if transient {
		kind = fault.Unreachable
	}
	return fault.New(kind, fmt.Errorf("telling %s: %w", name, err), "what was to be told is done; `ingot run --from announce RECIPE` tells of a release again")
}

// poster follows no redirect: most would make a GET without the message of it, and name the URL, which is secret, to another host.
var poster = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// webhook gets messages as JSON. The path of its URL is taken for a secret.
type webhook struct{ url *url.URL }

// Name implements factory.Teller.
func (w *webhook) Name() string { return w.url.Scheme + "://" + w.url.Host }

// Tell implements factory.Teller. A webhook can tell a repeated message by its Idempotency-Key.
func (w *webhook) Tell(ctx context.Context, m *factory.Message, token string) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url.String(), bytes.NewReader(body))
	if err != nil {
		return failed(w.Name(), false, fmt.Errorf("it is no URL to post to"))
	}
	rq.Header.Set("Content-Type", "application/json")
	rq.Header.Set("Idempotency-Key", token)
	rq.Header.Set("User-Agent", "ingot")
	resp, err := poster.Do(rq)
	if err != nil {
		return failed(w.Name(), true, unwrap(err))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 500))
	if err == nil && resp.StatusCode/100 == 2 {
		return nil
	}
	transient := resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusRequestTimeout
	return failed(w.Name(), transient, fmt.Errorf("it answered %s: %s", resp.Status, strings.ToValidUTF8(strings.TrimSpace(string(text)), "")))
}

// unwrap leaves out the URL, which net/http puts into its errors.
func unwrap(err error) error {
	if e, ok := err.(*url.Error); ok { //nolint:errorlint // it is what http.Client.Do returns
		return e.Err
	}
	return err
}
