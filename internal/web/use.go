package web

import (
	"net/url"
	"strings"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"ingot/internal/catalog"
)

// launchLink is the page of the AWS console that launches an AMI. The three partitions of AWS have a console each.
func launchLink(a catalog.AMI) string {
	host := a.Region + ".console.aws.amazon.com"
	switch {
	case strings.HasPrefix(a.Region, "cn-"):
		host = a.Region + ".console.amazonaws.cn"
	case strings.HasPrefix(a.Region, "us-gov-"):
		host = a.Region + ".console.amazonaws-us-gov.com"
	}
	return "https://" + host + "/ec2/home?" + url.Values{"region": {a.Region}}.Encode() + "#LaunchInstances:ami=" + url.QueryEscape(a.ImageID)
}

// instanceType is a small one that the image runs on.
func instanceType(r catalog.Release) string {
	switch {
	case r.Kind != ebs:
		return "m3.medium" // Nitro has no root on instance store
	case r.Arch == "arm64":
		return "t4g.micro"
	}
	return "t3.micro"
}

// snippet is a piece of text that launches an AMI.
type snippet struct{ id, title, text string }

func snippets(r catalog.Release, a catalog.AMI) []snippet {
	fill := strings.NewReplacer("REGION", a.Region, "AMI", a.ImageID, "TYPE", instanceType(r))
	return []snippet{
		{"cli", "AWS CLI", fill.Replace(`aws ec2 run-instances --region REGION \
  --image-id AMI --instance-type TYPE --key-name YOUR-KEY`)},
		{"terraform", "Terraform", fill.Replace(`provider "aws" {
  region = "REGION"
}

resource "aws_instance" "machine" {
  ami           = "AMI"
  instance_type = "TYPE"
  key_name      = "YOUR-KEY"
}`)},
		{"cloudformation", "CloudFormation", fill.Replace(`# aws cloudformation deploy --region REGION --stack-name machine --template-file FILE
Resources:
  Machine:
    Type: AWS::EC2::Instance
    Properties:
      ImageId: AMI
      InstanceType: TYPE
      KeyName: YOUR-KEY`)},
		{"pulumi", "Pulumi", fill.Replace(`# Pulumi.yaml; pulumi config set aws:region REGION
name: machine
runtime: yaml
resources:
  machine:
    type: aws:ec2:Instance
    properties:
      ami: AMI
      instanceType: TYPE
      keyName: YOUR-KEY`)},
	}
}

// usage shows how to launch the AMI of a region; the first one's if none is chosen.
func usage(r catalog.Release, region string) g.Node {
	if len(r.AMIs) == 0 || r.State == catalog.Retired {
		return nil
	}
	chosen := r.AMIs[0]
	for _, a := range r.AMIs {
		if a.Region == region {
			chosen = a
		}
	}
	return section("use", "Use it",
		h.Form(h.Class("find"), h.Method("get"), h.Action("/releases/"+r.ID+"#use"), h.Data("auto", ""),
			h.Label(h.For("region"), g.Text("Region")),
			h.Select(h.ID("region"), h.Name("region"), g.Map(r.AMIs, func(a catalog.AMI) g.Node {
				return h.Option(h.Value(a.Region), g.If(a.Region == chosen.Region, h.Selected()), g.Text(a.Region))
			})),
			h.Button(h.Type("submit"), g.Text("Show")),
		),
		h.P(h.A(h.Class("launch"), h.Href(launchLink(chosen)), g.Text("Launch "+chosen.ImageID+" in the AWS console"))),
		g.Map(snippets(r, chosen), func(s snippet) g.Node {
			return h.Details(h.Class("snippet"), g.If(s.id == "cli", g.Attr("open")),
				h.Summary(g.Text(s.title)),
				h.Pre(h.TabIndex("0"), h.Aria("label", s.title), h.Code(h.ID("s-"+s.id), g.Text(s.text))),
				copyButton(s.text, s.title, "s-"+s.id))
		}),
		h.P(h.Class("quiet"), g.Text("For programs, always the newest one: "),
			h.A(h.Href("/v1/latest?"+url.Values{"name": {r.Name}, "arch": {r.Arch}, "kind": {r.Kind}, "region": {chosen.Region}}.Encode()), g.Text("/v1/latest for this image and region"))),
	)
}

// copyButton copies a text; the script brings it to light. Where there is no clipboard, the text of the element source is
// selected.
func copyButton(text, what, source string) g.Node {
	return h.Button(h.Type("button"), h.Class("copy"), h.Data("copy", text), h.Data("source", source), h.Data("said", what), h.Aria("label", "Copy "+what),
		g.Attr("hidden"), g.Text("Copy"))
}
