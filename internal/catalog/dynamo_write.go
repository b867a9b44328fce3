package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"ingot/internal/fault"
)

// maxRaces is how often a write is tried whose condition another writer has broken.
const maxRaces = 20

// body is the part of a release that Put alone writes, as JSON; the rest of it are attributes of their own.
func body(r Release) (string, error) {
	r.State, r.AMIs, r.Packages, r.Verdict, r.Timings, r.History, r.Documents, r.Check = "", nil, nil, nil, nil, nil, nil, nil
	text, err := json.Marshal(r)
	return string(text), err
}

func asText(v any) (types.AttributeValue, error) {
	b, err := json.Marshal(v)
	return text(string(b)), err
}

func (s *dynamoStore) Put(ctx context.Context, r Release) error {
	if err := Normalize(&r); err != nil {
		return err
	}
	err := s.putPackages(ctx, r)
	for range maxRaces {
		if err != nil {
			break
		}
		if err = s.putRelease(ctx, r); err == nil {
			err = s.written(ctx)
			break
		}
		if conditional(err) {
			err = nil
			continue
		}
	}
	if err != nil {
		return fmt.Errorf("recording release %s: %w", r.ID, explain(err))
	}
	return nil
}

// putPackages writes the packages that are not there yet, and removes those that are gone.
func (s *dynamoStore) putPackages(ctx context.Context, r Release) error {
	had := make(map[string]item)
	err := s.query(ctx, of(releaseKey(r.ID), "P#"), func(i item) (bool, error) {
		had[textOf(i, "sk")] = i
		return true, nil
	})
	if err != nil {
		return err
	}
	var puts, deletes []item
	for _, p := range r.Packages {
		value, err := asText(p)
		if err != nil {
			return err
		}
		sk := "P#" + p.Name + "#" + p.Arch
		want := merged(key(releaseKey(r.ID), sk), item{"package": value, "gpk": text("P#" + p.Name), "gsk": text(place(r.Date.Unix(), r.ID) + "#" + p.Arch)})
		if !maps.Equal(texts(want), texts(had[sk])) {
			puts = append(puts, want)
		}
		delete(had, sk)
	}
	for _, sk := range slices.Sorted(maps.Keys(had)) {
		deletes = append(deletes, key(releaseKey(r.ID), sk))
	}
	return s.batch(ctx, puts, deletes)
}

// texts returns the text attributes of an item.
func texts(i item) map[string]string {
	out := make(map[string]string)
	for name := range i {
		out[name] = textOf(i, name)
	}
	return out
}

// putRelease writes a release's own item once, on condition that its history is still what was read.
func (s *dynamoStore) putRelease(ctx context.Context, r Release) error {
	before, err := s.get(ctx, releaseKey(r.ID), "M")
	if err != nil {
		return err
	}
	if before != nil {
		r.State = Later(textOf(before, "state"), r.State)
	}
	set, err := s.attributes(r, before)
	if err != nil {
		return err
	}
	amis := make(map[string]types.AttributeValue, len(r.AMIs))
	for _, a := range r.AMIs {
		if amis[a.Region], err = asText(a); err != nil {
			return err
		}
	}
	if before == nil {
		set["amis"] = &types.AttributeValueMemberM{Value: amis}
		_, err = s.client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &s.table, Item: merged(key(releaseKey(r.ID), "M"), set),
			ConditionExpression: aws.String("attribute_not_exists(pk)")})
		return err
	}
	u := update{values: item{":before": before["history"]}, names: map[string]string{"#history": "history"}}
	for name, value := range set {
		u.set("#"+name, name, value)
	}
	for region, value := range amis {
		u.set("amis.#r"+strconv.Itoa(len(u.parts)), region, value)
	}
	return s.update(ctx, releaseKey(r.ID), "M", u, "#history = :before")
}

// attributes returns what a release's item has beside its AMIs.
func (s *dynamoStore) attributes(r Release, before item) (item, error) {
	fields, err := body(r)
	if err != nil {
		return nil, err
	}
	timings, err := asText(r.Timings)
	if err != nil {
		return nil, err
	}
	history, err := s.history(before, r.State, r.History)
	if err != nil {
		return nil, err
	}
	verdict, err := compress(r.Verdict)
	if err != nil {
		return nil, err
	}
	return item{"body": text(fields), "state": text(r.State), "timings": timings, "history": history, "verdict": binary(verdict),
		"gpk": text(listed), "gsk": text(place(r.Date.Unix(), r.ID))}, nil
}

// history returns the changes of a release that comes to a state; known is a history that came along with it.
func (s *dynamoStore) history(before item, state string, known []Change) (types.AttributeValue, error) {
	if before == nil && len(known) > 0 {
		return asText(known)
	}
	var all []Change
	if before != nil {
		if textOf(before, "state") == state {
			return before["history"], nil
		}
		if err := json.Unmarshal([]byte(textOf(before, "history")), &all); err != nil {
			return nil, err
		}
	}
	return asText(append(all, Change{state, s.now().UTC().Truncate(time.Second)}))
}

// update is an update of an item in the making.
type update struct {
	parts  []string
	names  map[string]string
	values item
}

// set adds an assignment; the last part of path, which begins with '#', stands for name.
func (u *update) set(path, name string, value types.AttributeValue) {
	variable := ":v" + strconv.Itoa(len(u.parts))
	u.parts = append(u.parts, path+" = "+variable)
	u.names[path[strings.LastIndex(path, "#"):]], u.values[variable] = name, value
}

func (s *dynamoStore) update(ctx context.Context, pk, sk string, u update, condition string) error {
	_, err := s.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: &s.table, Key: key(pk, sk), ExpressionAttributeNames: u.names,
		ExpressionAttributeValues: u.values, UpdateExpression: aws.String("SET " + strings.Join(u.parts, ", ")), ConditionExpression: &condition})
	return err
}

func (s *dynamoStore) PutAMI(ctx context.Context, releaseID string, a AMI) error {
	doing := fmt.Sprintf("recording AMI %s of release %s", a.ImageID, releaseID)
	if err := NormalizeAMI(&a); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	value, err := asText(a)
	if err == nil {
		u := update{values: item{}, names: map[string]string{}}
		u.set("amis.#region", a.Region, value)
		err = s.update(ctx, releaseKey(releaseID), "M", u, "attribute_exists(pk)")
	}
	return s.finish(ctx, doing, releaseID, err)
}

// finish counts a write that succeeded, and tells what went wrong otherwise: a condition means that there is no such release.
func (s *dynamoStore) finish(ctx context.Context, doing, releaseID string, err error) error {
	if err == nil {
		err = s.written(ctx)
	} else if conditional(err) {
		err = missing(releaseID)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, explain(err))
	}
	return nil
}

func (s *dynamoStore) SetState(ctx context.Context, id, state string) error {
	doing := fmt.Sprintf("setting the state of release %s to %s", id, state)
	if rank(state) < 0 {
		return fault.Newf(fault.Input, "%s: unknown state", doing)
	}
	var err error
	for range maxRaces {
		if err = s.setState(ctx, id, state); !conditional(err) {
			break
		}
	}
	return s.finish(ctx, doing, id, err)
}

func (s *dynamoStore) setState(ctx context.Context, id, state string) error {
	before, err := s.get(ctx, releaseKey(id), "M")
	switch {
	case err != nil:
		return err
	case before == nil:
		return missing(id)
	case textOf(before, "state") == Retired && state != Retired:
		return fault.Newf(fault.Input, "it is retired, which is final")
	}
	history, err := s.history(before, state, nil)
	if err != nil {
		return err
	}
	u := update{values: item{":before": before["history"]}, names: map[string]string{}}
	u.set("#state", "state", text(state))
	u.set("#history", "history", history)
	return s.update(ctx, releaseKey(id), "M", u, "#history = :before")
}

func (s *dynamoStore) PutCheck(ctx context.Context, releaseID string, c Check) error {
	if err := NormalizeCheck(&c); err != nil {
		return err
	}
	value, err := asText(c)
	if err == nil {
		if err = s.exists(ctx, releaseID); err == nil {
			_, err = s.client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &s.table, Item: merged(key(releaseKey(releaseID), "K"), item{"body": value})})
		}
	}
	return s.finish(ctx, "recording a check of the packages of release "+releaseID, releaseID, err)
}

func (s *dynamoStore) exists(ctx context.Context, releaseID string) error {
	i, err := s.get(ctx, releaseKey(releaseID), "M")
	if err == nil && i == nil {
		err = missing(releaseID)
	}
	return err
}
