// Package archtest holds the rules about who may import and print what.
package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// file is a Go file of the module.
type file struct {
	path    string // from the module's root
	room    string // its folder, below internal if it is there
	test    bool   // a test, or a package that only tests import
	tool    bool
	syntax  *ast.File
	imports []string
}

// in reports whether the file is in one of these folders, or below.
func (f file) in(rooms ...string) bool {
	return slices.ContainsFunc(rooms, func(r string) bool { return f.room == r || strings.HasPrefix(f.room, r+"/") })
}

func source(t *testing.T) []file {
	t.Helper()
	var all []file
	positions := token.NewFileSet()
	for _, dir := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if e.IsDir() && e.Name() == "testdata" {
				return filepath.SkipDir
			}
			if !strings.HasSuffix(path, ".go") {
				return nil
			}
			syntax, err := parser.ParseFile(positions, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			f := file{syntax: syntax}
			if f.path, err = filepath.Rel(root, path); err != nil {
				return err
			}
			f.room = strings.TrimPrefix(filepath.Dir(f.path), "internal/")
			f.test = strings.HasSuffix(path, "_test.go") || strings.HasSuffix(f.room, "test")
			f.tool = f.in("tools")
			for _, i := range syntax.Imports {
				name, err := strconv.Unquote(i.Path.Value)
				if err != nil {
					return err
				}
				f.imports = append(f.imports, name)
			}
			all = append(all, f)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 100 {
		t.Fatalf("only %d files were found", len(all))
	}
	return all
}

func TestImports(t *testing.T) {
	t.Parallel()
	for _, rule := range []struct {
		what string
		name string // imports that start with this
		free func(file) bool
	}{
		{"AWS's SDK is for publish, catalog, pipeline, region and deploy", "github.com/aws/",
			func(f file) bool { return f.test || f.in("publish", "catalog", "pipeline", "region", "deploy") }},
		{"the command line is on top", "ingot/internal/cli",
			func(f file) bool { return f.in("cmd", "cli", "tools") }},
		{"templates keep the linker from dropping unused methods", "html/template",
			func(f file) bool { return f.test || f.tool }},
		{"templates keep the linker from dropping unused methods", "text/template",
			func(f file) bool { return f.test || f.tool }},
		{"documentation is written by a tool", "github.com/spf13/cobra/doc",
			func(f file) bool { return f.tool }},
		{"tests' packages are for tests", "testing",
			func(f file) bool { return f.test }},
	} {
		for _, f := range source(t) {
			for _, name := range f.imports {
				if strings.HasPrefix(name, rule.name) && !rule.free(f) {
					t.Errorf("%s imports %s: %s", f.path, name, rule.what)
				}
			}
		}
	}
}

// TestPrinting expects nothing below the command line to print. The programs that sandbox and machine become
// in processes of their own have pipes as their standard output and error, which they may use.
func TestPrinting(t *testing.T) {
	t.Parallel()
	prints := regexp.MustCompile(`^(fmt\.Print|log\.(Print|Fatal|Panic))(|f|ln)$`)
	streams := regexp.MustCompile(`^os\.Std(out|err)$`)
	for _, f := range source(t) {
		if f.test || f.tool || f.in("cmd", "cli") {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := s.X.(*ast.Ident)
			if !ok {
				return true
			}
			name := x.Name + "." + s.Sel.Name
			if prints.MatchString(name) || streams.MatchString(name) && !f.in("sandbox", "machine") {
				t.Errorf("%s uses %s", f.path, name)
			}
			return true
		})
	}
}

// TestPaths expects no path of the machine on which this is written.
func TestPaths(t *testing.T) {
	t.Parallel()
	machine := regexp.MustCompile(`/(work|tmp|home/[a-z]+|root/go)/[A-Za-z]`)
	for _, f := range source(t) {
		if f.test { // tests have paths of trees in them
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING && machine.MatchString(l.Value) {
				t.Errorf("%s has the path %s", f.path, l.Value)
			}
			return true
		})
	}
	// Documents and scripts have no syntax to look at: all of their text counts.
	for _, pattern := range []string{"*.md", "Makefile", "docs/*.md", "recipes/*", "test/*"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				continue // a folder
			}
			if m := regexp.MustCompile("/" + `(work/[a-z]|root/go/)`).Find(text); m != nil {
				t.Errorf("%s has the path %s", name, m)
			}
		}
	}
}
