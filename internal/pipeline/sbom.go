package pipeline

import (
	"fmt"
	"net/url"
	"time"

	"ingot/internal/lock"
)

// The parts of an SPDX 2.3 document (https://spdx.github.io/spdx-spec/v2.3/) that an image has use for.
type (
	spdxDocument struct {
		Version       string         `json:"spdxVersion"`
		License       string         `json:"dataLicense"`
		ID            string         `json:"SPDXID"`
		Name          string         `json:"name"`
		Namespace     string         `json:"documentNamespace"`
		Creation      spdxCreation   `json:"creationInfo"`
		Packages      []spdxPackage  `json:"packages"`
		Relationships []spdxRelation `json:"relationships"`
	}
	spdxCreation struct {
		Created  time.Time `json:"created"`
		Creators []string  `json:"creators"`
	}
	spdxPackage struct {
		ID            string         `json:"SPDXID"`
		Name          string         `json:"name"`
		Version       string         `json:"versionInfo,omitempty"`
		Download      string         `json:"downloadLocation"`
		FilesAnalyzed bool           `json:"filesAnalyzed"`
		Concluded     string         `json:"licenseConcluded"`
		Declared      string         `json:"licenseDeclared"`
		Copyright     string         `json:"copyrightText"`
		SourceInfo    string         `json:"sourceInfo,omitempty"`
		Purpose       string         `json:"primaryPackagePurpose,omitempty"`
		Checksums     []spdxChecksum `json:"checksums,omitempty"`
		References    []spdxRef      `json:"externalRefs,omitempty"`
	}
	spdxChecksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxRef struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxRelation struct {
		From string `json:"spdxElementId"`
		Type string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
)

const noAssertion = "NOASSERTION"

// sbom describes an image as an SPDX 2.3 document. It is a function of the manifest and the lock: its date
// is the lock's.
func sbom(m *Manifest, l *lock.Lock) spdxDocument {
	const image = "SPDXRef-image"
	doc := spdxDocument{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: m.Name,
		Namespace: "https://spdx.org/spdxdocs/" + url.PathEscape(m.Name) + "-" + m.Disk,
		Creation:  spdxCreation{m.Date, []string{"Tool: ingot"}},
		Packages: []spdxPackage{{
			ID: image, Name: m.Name, Version: m.Date.Format("2006.01.02"), Download: noAssertion,
			Concluded: noAssertion, Declared: noAssertion, Copyright: noAssertion, Purpose: "OPERATING-SYSTEM",
			Checksums: []spdxChecksum{{"SHA256", m.Disk}},
		}},
		Relationships: []spdxRelation{{"SPDXRef-DOCUMENT", "DESCRIBES", image}},
	}
	for i, p := range l.Packages {
		id := fmt.Sprintf("SPDXRef-package-%d", i+1)
		pkg := spdxPackage{
			ID: id, Name: p.Name, Version: p.Version, Download: noAssertion,
			Concluded: noAssertion, Declared: noAssertion, Copyright: noAssertion,
			Checksums:  []spdxChecksum{{"SHA256", p.SHA256}},
			References: []spdxRef{{"PACKAGE-MANAGER", "purl", purl(l, p)}},
		}
		if p.Source != "" {
			pkg.SourceInfo = "built from source package " + p.Source
		}
		doc.Packages = append(doc.Packages, pkg)
		doc.Relationships = append(doc.Relationships, spdxRelation{image, "CONTAINS", id})
	}
	for i, m := range m.Modules {
		id := fmt.Sprintf("SPDXRef-module-%d", i+1)
		doc.Packages = append(doc.Packages, spdxPackage{
			ID: id, Name: m.Name, Version: m.Version, Download: moduleSource(l, m.Name),
			Concluded: noAssertion, Declared: noAssertion, Copyright: noAssertion,
			SourceInfo: "kernel module, built for kernel " + m.Kernel + " from the archive of this checksum",
			Checksums:  []spdxChecksum{{"SHA256", m.SHA256}},
		})
		doc.Relationships = append(doc.Relationships, spdxRelation{image, "CONTAINS", id})
	}
	return doc
}

// moduleSource is where a module's source is fetched from.
func moduleSource(l *lock.Lock, name string) string {
	for _, m := range l.Modules {
		if m.Name == name && m.Source.URL != "" {
			return m.Source.URL
		}
	}
	return noAssertion
}

// purl names a package as https://github.com/package-url/purl-spec says.
func purl(l *lock.Lock, p lock.Package) string {
	return fmt.Sprintf("pkg:%s/%s/%s@%s?arch=%s&distro=%s-%s", l.Format, l.Distro,
		url.QueryEscape(p.Name), url.QueryEscape(p.Version), p.Arch, l.Distro, l.Release)
}
