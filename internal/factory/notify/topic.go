package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"ingot/internal/factory"
	"ingot/internal/fault"
	"ingot/internal/publish"
	"ingot/internal/publish/sns"
)

// topic is a topic of Amazon SNS.
type topic struct {
	arn    string
	client *sns.Client
}

func newTopic(u *url.URL, clients publish.Clients) (*topic, error) {
	arn := strings.TrimPrefix(u.Path, "/")
	if !strings.HasPrefix(arn, "arn:") {
		return nil, fault.New(fault.Usage, fmt.Errorf("%q is no topic of SNS", arn), "write sns://eu-west-1/arn:aws:sns:eu-west-1:123456789012:releases")
	}
	return &topic{arn, sns.New(clients.Config(u.Host))}, nil
}

// Name implements factory.Teller.
func (t *topic) Name() string { return t.arn }

// maxSubject is SNS's limit for subjects, in bytes.
const maxSubject = 99

// Tell implements factory.Teller. Subscribers by e-mail get the text, all others JSON.
func (t *topic) Tell(ctx context.Context, m *factory.Message, _ string) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	subject := strings.Map(func(r rune) rune { // printable ASCII, as SNS demands
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, m.Title)
	parts := map[string]string{"default": string(body), "email": m.Text()}
	if err := t.client.Publish(ctx, t.arn, subject[:min(len(subject), maxSubject)], parts); err != nil {
		return fmt.Errorf("telling %s: %w", t.arn, err)
	}
	return nil
}
