package region

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// model is a service model of botocore: the third party that knows every name on the wire.
type model struct {
	Operations map[string]struct {
		Input, Output *struct{ Shape string }
	}
	Shapes map[string]*shape
}

type shape struct {
	Type    string
	Members map[string]*member
	Member  *member
	Enum    []string
}

type member struct{ Shape, LocationName, QueryName string }

// newer are the names that are younger than the model of Debian 12.
var newer = []string{
	"RegisterImage TagSpecification.1.ResourceType", "RegisterImage TagSpecification.1.Tag.1.Key", "RegisterImage TagSpecification.1.Tag.1.Value",
	"DeregisterImage DeleteAssociatedSnapshots", "DeregisterImageResponse/return", "DeregisterImageResponse/deleteSnapshotResultSet",
	"DeleteKeyPairResponse/keyPairId", "DescribeImages MaxResults", "DescribeImages NextToken", "DescribeImagesResponse/nextToken", "instancesSet/item/currentInstanceBootMode", "bootMode=uefi-preferred",
	"DescribeImages IncludeDisabled", "imageState=disabled", "imagesSet/item/deregistrationProtection", "imagesSet/item/lastLaunchedTime",
	"imagesSet/item/sourceImageId", "imagesSet/item/sourceImageRegion", "ModifyImageAttribute ImdsSupport.Value", "CopyImage CopyImageTags",
}

// newerActions are the actions that are.
var newerActions = []string{
	"DisableImage", "DisableImageBlockPublicAccess", "DisableImageDeregistrationProtection", "DisableSnapshotBlockPublicAccess", "EnableImage",
	"EnableImageBlockPublicAccess", "EnableImageDeregistrationProtection", "EnableSnapshotBlockPublicAccess", "GetImageBlockPublicAccessState",
	"GetSnapshotBlockPublicAccessState", "CreateImageUsageReport", "DeleteImageUsageReport", "DescribeImageReferences",
	"DescribeImageUsageReportEntries", "DescribeImageUsageReports",
}

var loadModel = sync.OnceValue(func() *model {
	for _, dir := range []string{"awscli/botocore", "botocore"} {
		data, err := os.ReadFile(filepath.Join("/usr/lib/python3/dist-packages", dir, "data/ec2/2016-11-15/service-2.json"))
		if err != nil {
			continue
		}
		m := &model{}
		if json.Unmarshal(data, m) == nil {
			return m
		}
	}
	return nil
})

func TestModel(t *testing.T) {
	if loadModel() == nil {
		t.Skip("no service models: botocore is not installed")
	}
	for name := range actions {
		if _, ok := loadModel().Operations[name]; ok == slices.Contains(newerActions, name) {
			t.Errorf("%s: an action of EC2: %v", name, ok)
		}
	}
}

// checkModel passes requests on, and checks every EC2 exchange that succeeds against the model.
func checkModel(t *testing.T, next http.Handler) http.Handler {
	m := loadModel()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m == nil || r.Method != http.MethodPost || !strings.Contains(r.Header.Get("Authorization"), "/ec2/") {
			next.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		form, _ := url.ParseQuery(string(body))
		if rec.Code == http.StatusOK && !slices.Contains(newerActions, form.Get("Action")) {
			m.checkRequest(t, form)
			m.checkResponse(t, form.Get("Action"), rec.Body.Bytes())
		}
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
	})
}

func (m *model) checkRequest(t *testing.T, form url.Values) {
	action := form.Get("Action")
	for name := range form {
		if name == "Action" || name == "Version" || slices.Contains(newer, action+" "+name) {
			continue
		}
		s := m.Shapes[m.Operations[action].Input.Shape]
		for step := range strings.SplitSeq(name, ".") {
			if _, err := strconv.Atoi(step); err == nil && s != nil && s.Type == "list" {
				s = m.Shapes[s.Member.Shape]
				continue
			}
			if s = m.queryMember(s, step); s == nil {
				t.Errorf("%s: the model has no parameter %s", action, name)
				break
			}
		}
	}
}

func (m *model) queryMember(s *shape, name string) *shape {
	if s == nil {
		return nil
	}
	for key, mem := range s.Members {
		wire := key
		if mem.QueryName != "" {
			wire = mem.QueryName
		} else if l := mem.LocationName; l != "" {
			wire = strings.ToUpper(l[:1]) + l[1:]
		}
		if wire == name {
			return m.Shapes[mem.Shape]
		}
	}
	return nil
}

func (m *model) checkResponse(t *testing.T, action string, body []byte) {
	type element struct {
		path  string
		shape *shape
	}
	var output *shape
	if o := m.Operations[action].Output; o != nil {
		output = m.Shapes[o.Shape]
	}
	stack := []element{}
	dec := xml.NewDecoder(bytes.NewReader(body))
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Errorf("%s: %v", action, err)
			return
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			name := tok.Name.Local
			if len(stack) == 0 {
				if name != action+"Response" || tok.Name.Space != ec2Namespace {
					t.Errorf("%s: the response is a %s of %s", action, name, tok.Name.Space)
				}
				stack = append(stack, element{name, output})
				continue
			}
			parent := stack[len(stack)-1]
			e := element{path: parent.path + "/" + name, shape: m.responseMember(parent.shape, name)}
			known := e.shape != nil || len(stack) == 1 && (name == "requestId" || name == "return") ||
				slices.ContainsFunc(newer, func(n string) bool { return strings.Contains(e.path, n) })
			if !known {
				t.Errorf("%s: the model has no element %s", action, e.path)
			}
			stack = append(stack, e)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			e := stack[max(0, len(stack)-1):]
			text := string(tok)
			if len(e) == 1 && e[0].shape != nil && len(e[0].shape.Enum) > 0 && !slices.Contains(e[0].shape.Enum, text) &&
				!slices.Contains(newer, e[0].path[strings.LastIndex(e[0].path, "/")+1:]+"="+text) {
				t.Errorf("%s: %s cannot be %q", action, e[0].path, text)
			}
		}
	}
}

func (m *model) responseMember(s *shape, name string) *shape {
	switch {
	case s == nil:
		return nil
	case s.Type == "list" && name == "item":
		return m.Shapes[s.Member.Shape]
	}
	for key, mem := range s.Members {
		if mem.LocationName == name || mem.LocationName == "" && key == name {
			return m.Shapes[mem.Shape]
		}
	}
	return nil
}

// storedBlocks counts the block files of a region.
func storedBlocks(t *testing.T, r *Region) (n int) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(r.opt.Dir, "blocks", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(paths)
}
