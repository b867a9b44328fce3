package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

func (s *dynamoStore) Get(ctx context.Context, id string) (r Release, err error) {
	found := false
	err = s.query(ctx, of(releaseKey(id), ""), func(i item) (bool, error) {
		sk := textOf(i, "sk")
		switch {
		case sk == "M":
			found = true
			return true, readWhole(i, &r)
		case sk == "K":
			r.Check = new(Check)
			return true, json.Unmarshal([]byte(textOf(i, "body")), r.Check)
		case strings.HasPrefix(sk, "D#"):
			var d Document
			err := json.Unmarshal([]byte(textOf(i, "body")), &d)
			r.Documents = append(r.Documents, d)
			return true, err
		case strings.HasPrefix(sk, "P#"):
			var p Package
			err := json.Unmarshal([]byte(textOf(i, "package")), &p)
			r.Packages = append(r.Packages, p)
			return true, err
		}
		return true, nil
	})
	if err == nil && !found {
		err = missing(id)
	}
	if err != nil {
		return Release{}, fmt.Errorf("reading release %s: %w", id, explain(err))
	}
	slices.SortFunc(r.Packages, func(a, b Package) int { return compare(a.Name, b.Name, a.Arch, b.Arch) })
	return r, nil
}

// readWhole reads all that a release's own item has, into a release that may have its packages, documents and check.
func readWhole(i item, into *Release) error {
	r, err := readSummary(i)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(textOf(i, "timings")), &r.Timings); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(textOf(i, "history")), &r.History); err != nil {
		return err
	}
	verdict, err := decompress(binaryOf(i, "verdict"), MaxDocument)
	if err != nil {
		return err
	}
	if len(verdict) > 0 {
		r.Verdict = verdict
	}
	r.Packages, r.Documents, r.Check = into.Packages, into.Documents, into.Check
	*into = r
	return nil
}

// readSummary reads what List returns of a release, from its own item or from the index.
func readSummary(i item) (r Release, err error) {
	if err := json.Unmarshal([]byte(textOf(i, "body")), &r); err != nil {
		return r, err
	}
	r.State, r.AMIs = textOf(i, "state"), []AMI{}
	if m, ok := i["amis"].(*types.AttributeValueMemberM); ok {
		for region := range m.Value {
			var a AMI
			if err := json.Unmarshal([]byte(textOf(m.Value, region)), &a); err != nil {
				return r, err
			}
			r.AMIs = append(r.AMIs, a)
		}
	}
	slices.SortFunc(r.AMIs, func(a, b AMI) int { return compare(a.Region, b.Region) })
	return r, nil
}

// fits says whether a release is one that a filter selects, and leaves out the AMIs that it does not.
func fits(f Filter, r *Release, retired bool) bool {
	for _, x := range [][2]string{{f.Distro, r.Distro}, {f.Version, r.Version}, {f.Name, r.Name}, {f.Arch, r.Arch}, {f.Kind, r.Kind}, {f.State, r.State}} {
		if x[0] != "" && x[0] != x[1] {
			return false
		}
	}
	if f.Live && (r.State == Candidate || r.State == Retired) {
		return false
	}
	r.AMIs = slices.DeleteFunc(r.AMIs, func(a AMI) bool {
		return f.Region != "" && a.Region != f.Region || (!retired || f.Region != "") && a.State == Retired
	})
	return f.Region == "" || len(r.AMIs) > 0
}

// newestFirst reads a partition of the index from a place on.
func newestFirst(gpk, cursor string) (*dynamodb.QueryInput, error) {
	in := &dynamodb.QueryInput{IndexName: aws.String(indexName), ScanIndexForward: aws.Bool(false), KeyConditionExpression: aws.String("gpk = :p"),
		ExpressionAttributeValues: item{":p": text(gpk)}}
	if cursor != "" {
		date, id, err := ParseCursor(cursor)
		if err != nil {
			return nil, err
		}
		in.KeyConditionExpression = aws.String("gpk = :p AND gsk < :c")
		in.ExpressionAttributeValues[":c"] = text(place(date, id))
	}
	return in, nil
}

func (s *dynamoStore) List(ctx context.Context, f Filter) (all []Release, next string, err error) {
	limit := f.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	limit = min(limit, maxLimit)
	take := func(r Release) bool {
		if fits(f, &r, !f.Live) {
			all = append(all, r)
		}
		return len(all) <= limit
	}
	if f.Package != "" {
		err = s.holding(ctx, f, take)
	} else {
		err = s.summaries(ctx, f.Cursor, take)
	}
	if err != nil {
		return nil, "", fmt.Errorf("listing releases: %w", explain(err))
	}
	if len(all) > limit {
		all = all[:limit]
		next = After(all[limit-1])
	}
	return all, next, nil
}

// summaries hands out all releases, newest first, until take has enough.
func (s *dynamoStore) summaries(ctx context.Context, cursor string, take func(Release) bool) error {
	in, err := newestFirst(listed, cursor)
	if err != nil {
		return err
	}
	return s.query(ctx, in, func(i item) (bool, error) {
		r, err := readSummary(i)
		return err == nil && take(r), err
	})
}

// holding hands out the releases that hold a package, with it, newest first, until take has enough.
func (s *dynamoStore) holding(ctx context.Context, f Filter, take func(Release) bool) error {
	in, err := newestFirst("P#"+f.Package, f.Cursor)
	if err != nil {
		return err
	}
	id, found := "", []Package(nil)
	flush := func() (bool, error) {
		if len(found) == 0 {
			return true, nil
		}
		i, err := s.get(ctx, releaseKey(id), "M")
		if err != nil || i == nil { // its Put was cut off
			return true, err
		}
		r, err := readSummary(i)
		r.Packages = found
		slices.SortFunc(r.Packages, func(a, b Package) int { return compare(a.Name, b.Name, a.Arch, b.Arch) })
		return err == nil && take(r), err
	}
	more := true
	err = s.query(ctx, in, func(i item) (bool, error) {
		if now := strings.TrimPrefix(textOf(i, "pk"), "R#"); now != id {
			var err error
			if more, err = flush(); err != nil || !more {
				return more, err
			}
			id, found = now, nil
		}
		var p Package
		if err := json.Unmarshal([]byte(textOf(i, "package")), &p); err != nil {
			return false, err
		}
		if strings.HasPrefix(p.Version, f.PackageVersion) {
			found = append(found, p)
		}
		return true, nil
	})
	if err == nil && more {
		_, err = flush()
	}
	return err
}

// Latest reads the whole index: DynamoDB cannot group. The web server keeps what it makes of it.
func (s *dynamoStore) Latest(ctx context.Context, f Filter) (all []Release, err error) {
	type image struct{ name, arch, kind string }
	seen := make(map[image]bool)
	err = s.summaries(ctx, "", func(r Release) bool {
		usable := f.State != "" || r.State == Public || r.State == Verified
		if i := (image{r.Name, r.Arch, r.Kind}); usable && !seen[i] && fits(f, &r, false) {
			seen[i] = true
			all = append(all, r)
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("listing releases: %w", explain(err))
	}
	slices.SortFunc(all, func(a, b Release) int { return compare(a.Name, b.Name, a.Arch, b.Arch, a.Kind, b.Kind) })
	return all, nil
}
