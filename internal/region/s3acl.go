package region

import (
	"encoding/xml"
	"net/http"
	"slices"
)

// cannedACLs are the access control lists that can be asked for by name, and whom each lets read beside the owner.
var cannedACLs = map[string]*granteeXML{
	"":                          nil,
	"private":                   nil,
	"bucket-owner-read":         nil, // there is one account, which owns all buckets
	"bucket-owner-full-control": nil,
	"public-read":               {Type: "Group", URI: "http://acs.amazonaws.com/groups/global/AllUsers"},
	"authenticated-read":        {Type: "Group", URI: "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"},
	// By this one EC2 fetches the bundles of AMIs. The account that AWS shows for it is called za-team.
	"aws-exec-read": {Type: "CanonicalUser", ID: "6aa5a366c34c1cbe25dc49211496e913e0351eb0e8c37aa3477e40942ec6b97c", DisplayName: "za-team"},
}

// readByEC2 are the lists with which EC2 can fetch an object.
var readByEC2 = []string{"aws-exec-read", "public-read", "authenticated-read"}

type ownerXML struct {
	ID          string
	DisplayName string
}

func (r *s3Request) owner() ownerXML {
	return ownerXML{objectID(r.area.r.opt.AccountID), r.area.r.opt.AccountID}
}

type granteeXML struct {
	XMLName     xml.Name `xml:"Grantee"`
	Schema      string   `xml:"xmlns:xsi,attr"`
	Type        string   `xml:"xsi:type,attr"`
	ID          string   `xml:",omitempty"`
	DisplayName string   `xml:",omitempty"`
	URI         string   `xml:",omitempty"`
}

type grantXML struct {
	Grantee    granteeXML
	Permission string
}

type aclXML struct {
	Owner  ownerXML
	Grants []grantXML `xml:"AccessControlList>Grant"`
}

// writeACL writes a canned list in full.
func (r *s3Request) writeACL(w http.ResponseWriter, canned string) {
	const schema = "http://www.w3.org/2001/XMLSchema-instance"
	owner := r.owner()
	out := aclXML{Owner: owner, Grants: []grantXML{{granteeXML{Schema: schema, Type: "CanonicalUser", ID: owner.ID, DisplayName: owner.DisplayName}, "FULL_CONTROL"}}}
	if g := cannedACLs[canned]; g != nil {
		reader := *g
		reader.Schema = schema
		out.Grants = append(out.Grants, grantXML{reader, "READ"})
	}
	writeXML(w, http.StatusOK, "AccessControlPolicy", s3Namespace, out)
}

func getBucketACL(w http.ResponseWriter, r *s3Request) error {
	return inBucket(w, r, func(*bucket) error {
		r.writeACL(w, "private")
		return nil
	})
}

func getObjectACL(w http.ResponseWriter, r *s3Request) error {
	return inBucket(w, r, func(*bucket) error {
		o := r.store.get(r.bucket, r.key)
		if o == nil {
			return noSuchKey()
		}
		r.writeACL(w, o.ACL)
		return nil
	})
}

// acl returns the list that a request names, if the bucket has any. Call it with the lock held.
func (r *s3Request) acl(b *bucket) (string, error) {
	name := r.Header.Get("X-Amz-Acl")
	if _, ok := cannedACLs[name]; !ok {
		return "", s3Errorf(http.StatusBadRequest, "InvalidArgument", "The canned ACL %.60s is not known", name)
	}
	if b.Ownership == ownerEnforced && !slices.Contains([]string{"", "bucket-owner-full-control"}, name) {
		return "", s3Errorf(http.StatusBadRequest, "AccessControlListNotSupported", "The bucket does not allow ACLs")
	}
	return name, nil
}

func putObjectACL(w http.ResponseWriter, r *s3Request) error {
	if r.Header.Get("X-Amz-Acl") == "" {
		return notImplemented("an ACL that is not a canned one")
	}
	return inBucket(w, r, func(b *bucket) error {
		o := r.store.get(r.bucket, r.key)
		if o == nil {
			return noSuchKey()
		}
		changed := *o
		var err error
		if changed.ACL, err = r.acl(b); err != nil {
			return err
		}
		return r.store.objects[r.bucket].put(objectID(r.key), &changed)
	})
}
