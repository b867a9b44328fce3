package catalog

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

// partSize is how much of a document's body an item takes; DynamoDB's limit is 400 KB with all attributes.
const partSize = 350_000

func partsKey(releaseID string) string { return "C#" + releaseID }

// partName orders the parts of a body, of one content of a document.
func partName(d Document, n int) string { return fmt.Sprintf("%s#%s#%04d", d.Name, d.SHA256, n) }

func (s *dynamoStore) PutDocument(ctx context.Context, releaseID string, d Document, body []byte) error {
	packed, err := Pack(releaseID, &d, body)
	if err != nil {
		return err
	}
	return s.finish(ctx, fmt.Sprintf("adding document %s to release %s", d.Name, releaseID), releaseID, s.putDocument(ctx, releaseID, d, packed))
}

// putDocument writes the parts, then the document that names them, then removes the parts that nothing names any more.
func (s *dynamoStore) putDocument(ctx context.Context, releaseID string, d Document, packed []byte) error {
	if err := s.exists(ctx, releaseID); err != nil {
		return err
	}
	wanted := make(map[string]bool)
	for n := 0; n == 0 || len(packed) > 0; n++ { // one at a time: a batch may have 16 MB at most
		part := packed[:min(len(packed), partSize)]
		packed = packed[len(part):]
		wanted[partName(d, n)] = true
		i := merged(key(partsKey(releaseID), partName(d, n)), item{"body": binary(part)})
		if _, err := s.client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &s.table, Item: i}); err != nil {
			return err
		}
	}
	value, err := asText(d)
	if err != nil {
		return err
	}
	i := merged(key(releaseKey(releaseID), "D#"+d.Name), item{"body": value})
	if _, err := s.client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &s.table, Item: i}); err != nil {
		return err
	}
	var old []item
	in := of(partsKey(releaseID), d.Name+"#")
	projection := "pk, sk"
	in.ProjectionExpression = &projection
	err = s.query(ctx, in, func(i item) (bool, error) {
		if !wanted[textOf(i, "sk")] {
			old = append(old, i)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	return s.batch(ctx, nil, old)
}

func (s *dynamoStore) Document(ctx context.Context, releaseID, name string) (d Document, body []byte, err error) {
	body, err = s.document(ctx, releaseID, name, &d)
	if err != nil {
		return d, nil, fmt.Errorf("reading document %s of release %s: %w", name, releaseID, explain(err))
	}
	return d, body, nil
}

func (s *dynamoStore) document(ctx context.Context, releaseID, name string, d *Document) ([]byte, error) {
	i, err := s.get(ctx, releaseKey(releaseID), "D#"+name)
	if err != nil {
		return nil, err
	}
	if i == nil {
		return nil, noDocument(releaseID, name)
	}
	if err := json.Unmarshal([]byte(textOf(i, "body")), d); err != nil {
		return nil, err
	}
	var packed []byte
	err = s.query(ctx, of(partsKey(releaseID), d.Name+"#"+d.SHA256+"#"), func(i item) (bool, error) {
		packed = append(packed, binaryOf(i, "body")...)
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return Unpack(*d, packed)
}
