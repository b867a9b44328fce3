// Package sns publishes messages to topics of Amazon SNS.
package sns

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"ingot/internal/publish/retry"
)

// Client speaks to SNS in one region.
type Client struct{ api *sns.Client }

// New returns a client of a configuration whose retries are off.
func New(cfg aws.Config) *Client { return &Client{sns.NewFromConfig(cfg)} }

// Publish sends a message to a topic, in another form for each protocol: "default" is the one for all that are not named.
func (c *Client) Publish(ctx context.Context, topic, subject string, forms map[string]string) error {
	text, err := json.Marshal(forms)
	if err != nil {
		return fmt.Errorf("writing a message for %s: %w", topic, err)
	}
	return retry.Call(ctx, "sns:Publish", retry.Policy{}, func(ctx context.Context) error {
		_, err := c.api.Publish(ctx, &sns.PublishInput{TopicArn: aws.String(topic), Subject: aws.String(subject), Message: aws.String(string(text)), MessageStructure: aws.String("json")})
		return err
	})
}
