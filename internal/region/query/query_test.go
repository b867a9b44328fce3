package query

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

type common struct {
	DryRun bool `q:"DryRun"`
}

type filter struct {
	Name   string   `q:"Name"`
	Values []string `q:"Value"`
}

type input struct {
	common
	Filters []filter `q:"Filter"`
	Size    *int32   `q:"Size"`
	Big     int64    `q:"Big"`
	Data    []byte   `q:"Data"`
	Inner   *struct {
		On bool `q:"On"`
	} `q:"Inner"`
	IDs []string `q:"Id"`
}

func TestDecode(t *testing.T) {
	t.Parallel()
	seven := int32(7)
	for text, want := range map[string]input{
		"":                                   {},
		"DryRun=true&Size=7":                 {common: common{true}, Size: &seven},
		"Big=9000000000&Data=aGk%3D":         {Big: 9000000000, Data: []byte("hi")},
		"Id.2=b&Id.1=a&Id.10=c":              {IDs: []string{"a", "b", "c"}},
		"Filter.1.Name=n&Filter.1.Value.1=+": {Filters: []filter{{"n", []string{" "}}}},
		"Filter.1.Name=n&&Filter.2.Name=m":   {Filters: []filter{{Name: "n"}, {Name: "m"}}},
		"Inner.On=1": {Inner: &struct {
			On bool `q:"On"`
		}{true}},
	} {
		f, err := Parse(text)
		var got input
		if err == nil {
			err = f.Decode(&got)
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(input{})); err != nil || d != "" {
			t.Errorf("%q: %v %s", text, err, d)
		}
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	for text, code := range map[string]string{
		"Colour=blue":                          "UnknownParameter",
		"Filter.1.Colour=blue":                 "UnknownParameter",
		"Filter=x":                             "UnknownParameter",
		"Filter.x.Name=x":                      "UnknownParameter",
		"Filter.0.Name=x":                      "UnknownParameter",
		"Filter.01.Name=x":                     "UnknownParameter",
		"Filter.-1.Name=x":                     "UnknownParameter",
		"Size.1=x":                             "UnknownParameter",
		"Inner=x":                              "UnknownParameter",
		".=x":                                  "UnknownParameter",
		"=x":                                   "UnknownParameter",
		strings.Repeat("a.", 50) + "=":         "UnknownParameter",
		"Filter.1001.Name=x":                   "InvalidParameterValue",
		"Size=x":                               "InvalidParameterValue",
		"Size=3000000000":                      "InvalidParameterValue",
		"DryRun=maybe":                         "InvalidParameterValue",
		"Data=!":                               "InvalidParameterValue",
		"Size=1&Size=1":                        "InvalidQueryParameter",
		"Size=%zz":                             "MalformedQueryString",
		"%zz=1":                                "MalformedQueryString",
		"Id.1=%ff":                             "InvalidCharacter",
		strings.Repeat("&Id.1=1", MaxParams+1): "InvalidQueryParameter",
		strings.Repeat("x", MaxBytes+1):        "RequestTooLarge",
	} {
		f, err := Parse(text)
		if err == nil {
			err = f.Decode(&input{})
		}
		var qe *Error
		if !errors.As(err, &qe) || qe.Code != code {
			t.Errorf("%.60q: got %v, want %s", text, err, code)
		}
	}
}

// TestRoundTrip writes filters as the SDKs do, and reads them back.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var want input
		form := url.Values{}
		for i := range rapid.IntRange(0, 5).Draw(t, "filters") {
			f := filter{Name: rapid.String().Draw(t, "name")}
			form.Set(fmt.Sprintf("Filter.%d.Name", i+1), f.Name)
			for j := range rapid.IntRange(0, 3).Draw(t, "values") {
				f.Values = append(f.Values, rapid.String().Draw(t, "value"))
				form.Set(fmt.Sprintf("Filter.%d.Value.%d", i+1, j+1), f.Values[j])
			}
			want.Filters = append(want.Filters, f)
		}
		parsed, err := Parse(form.Encode())
		if err != nil {
			t.Fatal(err)
		}
		var got input
		if err := parsed.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(input{})); d != "" {
			t.Error(d)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add("DryRun=true&Filter.1.Name=n&Filter.1.Value.1=v&Id.3=x&Size=1&Data=aGk%3D")
	f.Add("Filter.1=a&Filter.1.Name=b")
	f.Add("a.b.c.d.e.f.g.h.i=1&=&&%")
	f.Fuzz(func(t *testing.T, text string) {
		form, err := Parse(text)
		if err == nil {
			err = form.Decode(&input{})
		}
		var qe *Error
		if err != nil && !errors.As(err, &qe) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
