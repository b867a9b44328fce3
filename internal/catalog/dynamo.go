package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"ingot/internal/fault"
)

// DynamoDB keeps a catalogue in one table. Its items, by partition key and sort key:
//
//	R#ID   M              a release: body, state, history, AMIs as a map by region; also in the index as RELEASES, DATE#ID
//	R#ID   P#NAME#ARCH    a package of it; also in the index as P#NAME, DATE#ID#ARCH
//	R#ID   D#NAME         a document of it, without its body
//	R#ID   K              the last check of its packages
//	C#ID   NAME#SUM#N     a part of a document's body, which is written before and removed after its D#NAME
//	V      V              the number of writes
//
// There are no transactions: a release's packages are written before it, so that what is listed is whole, and what is not
// is made whole by the same Put again. State and history change together, on condition that nobody else has changed them
// since they were read.
type dynamoStore struct {
	client *dynamodb.Client
	table  string
	now    func() time.Time
}

const (
	dynamoScheme = "dynamodb:"
	indexName    = "listed"
	listed       = "RELEASES"
	tableWait    = 5 * time.Minute
)

// IsDynamoDB says whether a place is a table of DynamoDB rather than a file.
func IsDynamoDB(where string) bool { return strings.HasPrefix(where, dynamoScheme) }

// Open opens a catalogue: a file of SQLite, or dynamodb:TABLE with the parameters region and endpoint if they are other
// than those of the AWS configuration.
func Open(ctx context.Context, where string) (Store, error) {
	name, ok := strings.CutPrefix(where, dynamoScheme)
	if !ok {
		return OpenSQLite(ctx, where)
	}
	name, query, _ := strings.Cut(name, "?")
	q, err := url.ParseQuery(query)
	if err != nil || name == "" {
		return nil, fault.Newf(fault.Usage, "%q is no dynamodb:TABLE?region=REGION&endpoint=URL", where)
	}
	c, err := config.LoadDefaultConfig(ctx, config.WithRegion(q.Get("region")), config.WithLogger(logging.Nop{})) // the SDK would print by itself
	if err != nil {
		return nil, fmt.Errorf("opening the catalogue %s: reading the AWS configuration: %w", where, err)
	}
	if _, err := c.Credentials.Retrieve(ctx); err != nil {
		return nil, fault.New(fault.Denied, fmt.Errorf("opening the catalogue %s: finding AWS credentials: %w", where, err),
			"set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	return OpenDynamoDB(ctx, dynamodb.NewFromConfig(c, func(o *dynamodb.Options) {
		if e := q.Get("endpoint"); e != "" {
			o.BaseEndpoint = &e
		}
	}), name)
}

// OpenDynamoDB opens the catalogue in a table, and makes the table when it is absent, billed by request.
func OpenDynamoDB(ctx context.Context, client *dynamodb.Client, table string) (Store, error) {
	s := &dynamoStore{client, table, time.Now}
	_, err := client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &table})
	var absent *types.ResourceNotFoundException
	if errors.As(err, &absent) {
		err = s.create(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the catalogue in the DynamoDB table %s: %w", table, explain(err))
	}
	return s, nil
}

func (s *dynamoStore) create(ctx context.Context) error {
	text := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: &name, AttributeType: types.ScalarAttributeTypeS}
	}
	keys := func(hash, order string) []types.KeySchemaElement {
		return []types.KeySchemaElement{{AttributeName: &hash, KeyType: types.KeyTypeHash}, {AttributeName: &order, KeyType: types.KeyTypeRange}}
	}
	_, err := s.client.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: &s.table, BillingMode: types.BillingModePayPerRequest, KeySchema: keys("pk", "sk"),
		AttributeDefinitions: []types.AttributeDefinition{text("pk"), text("sk"), text("gpk"), text("gsk")},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{IndexName: aws.String(indexName), KeySchema: keys("gpk", "gsk"),
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeInclude, NonKeyAttributes: []string{"body", "state", "amis", "package"}}}},
	})
	var there *types.ResourceInUseException // another process makes it
	if err != nil && !errors.As(err, &there) {
		return err
	}
	often := func(o *dynamodb.TableExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 200*time.Millisecond, 5*time.Second
	}
	return dynamodb.NewTableExistsWaiter(s.client, often).Wait(ctx, &dynamodb.DescribeTableInput{TableName: &s.table}, tableWait)
}

func (s *dynamoStore) Close() error { return nil }

// item is an item of the table.
type item = map[string]types.AttributeValue

func text(s string) types.AttributeValue   { return &types.AttributeValueMemberS{Value: s} }
func binary(b []byte) types.AttributeValue { return &types.AttributeValueMemberB{Value: b} }

// textOf returns a text attribute, "" where there is none.
func textOf(i item, name string) string {
	if v, ok := i[name].(*types.AttributeValueMemberS); ok {
		return v.Value
	}
	return ""
}

func binaryOf(i item, name string) []byte {
	if v, ok := i[name].(*types.AttributeValueMemberB); ok {
		return v.Value
	}
	return nil
}

func key(pk, sk string) item { return item{"pk": text(pk), "sk": text(sk)} }

func releaseKey(id string) string { return "R#" + id }

// place orders releases by date and ID as bytes; dates before 1970 count, too.
func place(date int64, id string) string { return fmt.Sprintf("%014d#%s", date+1<<40, id) }

// get reads an item as the last write left it.
func (s *dynamoStore) get(ctx context.Context, pk, sk string) (item, error) {
	out, err := s.client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &s.table, Key: key(pk, sk), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return nil, err
	}
	return out.Item, nil
}

// query reads the items that a condition selects, page by page, until do returns false.
func (s *dynamoStore) query(ctx context.Context, in *dynamodb.QueryInput, do func(item) (bool, error)) error {
	in.TableName = &s.table
	for {
		out, err := s.client.Query(ctx, in)
		if err != nil {
			return err
		}
		for _, i := range out.Items {
			if more, err := do(i); err != nil || !more {
				return err
			}
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			return nil
		}
	}
}

// of selects the items of a partition whose sort key begins so.
func of(pk, prefix string) *dynamodb.QueryInput {
	return &dynamodb.QueryInput{KeyConditionExpression: aws.String("pk = :p AND begins_with(sk, :s)"), ConsistentRead: aws.Bool(true),
		ExpressionAttributeValues: item{":p": text(pk), ":s": text(prefix)}}
}

// maxBatch is how many items DynamoDB takes at once.
const maxBatch = 25

// batch writes and deletes items, a batch after the other. What DynamoDB puts off is sent again, later each time.
func (s *dynamoStore) batch(ctx context.Context, puts []item, deletes []item) error {
	var all []types.WriteRequest
	for _, i := range puts {
		all = append(all, types.WriteRequest{PutRequest: &types.PutRequest{Item: i}})
	}
	for _, i := range deletes {
		all = append(all, types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: i}})
	}
	const tries = 10
	for wait, failed := 50*time.Millisecond, 0; len(all) > 0; {
		n := min(len(all), maxBatch)
		out, err := s.client.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{s.table: all[:n]}})
		if err != nil {
			return err
		}
		put := out.UnprocessedItems[s.table]
		all = append(put, all[n:]...)
		if len(put) == 0 {
			wait, failed = 50*time.Millisecond, 0
			continue
		}
		if failed++; failed == tries {
			return fault.New(fault.Unreachable, fmt.Errorf("DynamoDB put off %d writes %d times", len(put), tries), "its capacity is used up: try again later")
		}
		select {
		case <-time.After(wait):
			wait *= 2
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// written counts a write, for Version.
func (s *dynamoStore) written(ctx context.Context) error {
	_, err := s.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: &s.table, Key: key("V", "V"), UpdateExpression: aws.String("ADD n :one"),
		ExpressionAttributeValues: item{":one": &types.AttributeValueMemberN{Value: "1"}}})
	return err
}

// Version reads the number of writes.
func (s *dynamoStore) Version(ctx context.Context) (string, error) {
	i, err := s.get(ctx, "V", "V")
	if err != nil {
		return "", fmt.Errorf("asking the catalogue for changes: %w", explain(err))
	}
	if n, ok := i["n"].(*types.AttributeValueMemberN); ok {
		return n.Value, nil
	}
	return "0", nil
}

// conditional says whether a write failed because its condition did not hold.
func conditional(err error) bool {
	var c *types.ConditionalCheckFailedException
	return errors.As(err, &c)
}

// merged returns a with all of b.
func merged(a, b item) item {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// explain gives an error of DynamoDB a kind.
func explain(err error) error {
	var api smithy.APIError
	if err == nil || fault.KindOf(err) != fault.Bug || errors.Is(err, context.Canceled) {
		return err
	}
	if !errors.As(err, &api) {
		var broken *json.SyntaxError
		if errors.As(err, &broken) {
			return fault.New(fault.Input, err, "the table holds what no ingot wrote")
		}
		return fault.New(fault.Unreachable, err, "")
	}
	switch api.ErrorCode() {
	case "AccessDeniedException", "UnrecognizedClientException", "MissingAuthenticationToken", "ExpiredTokenException", "InvalidSignatureException":
		needed := "dynamodb:*"
		var call *smithy.OperationError
		if errors.As(err, &call) {
			needed = "dynamodb:" + call.Operation()
		}
		return fault.New(fault.Denied, err, "the credentials need the permission "+needed+" on the table and its index")
	case "ResourceNotFoundException":
		return fault.New(fault.Missing, err, "")
	case "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "InternalServerError":
		return fault.New(fault.Unreachable, err, "try again later")
	}
	return err
}
