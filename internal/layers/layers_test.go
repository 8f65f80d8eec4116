// Package layers_test keeps the packages in their order and the connectors
// apart. It has no code of its own.
package layers_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/verify"
)

const (
	root   = "../.."
	module = "github.com/tollbridge/tollbridge/"
	all    = "all"
)

// layers returns which packages of ours each package may import: the table in
// README.md, and with each package that a row names those that that one may.
func layers(t *testing.T) map[string][]string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(readme), "| package | owns | may import |\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	if !found {
		t.Fatal("README.md has no table of packages, which says who may import whom")
	}
	rows := map[string][]string{}
	for row := range strings.SplitSeq(table, "\n") {
		cells := strings.Split(row, "|")
		if len(cells) != 5 {
			t.Fatalf("README.md: want three columns of packages, got the row %q", row)
		}
		may := quoted(cells[3])
		switch says := strings.TrimSpace(cells[3]); {
		case says == all:
			may = []string{all}
		case len(may) == 0 && says != "the standard library":
			t.Fatalf("README.md: %q: want packages in backquotes, %q or \"the standard library\"", row, all)
		}
		for _, name := range quoted(cells[1]) {
			rows[name] = may
		}
	}
	for name, may := range rows {
		may = slices.Clone(may)
		for i := 0; i < len(may); i++ { // grows
			below, listed := rows[may[i]]
			if may[i] != all && !listed {
				t.Errorf("README.md: the row of %s names %s, which has no row", name, may[i])
			}
			for _, b := range below {
				if b == name {
					t.Errorf("README.md: %s may import itself, through %s", name, may[i])
				} else if !slices.Contains(may, b) {
					may = append(may, b)
				}
			}
		}
		rows[name] = may
	}
	return rows
}

// quoted returns what stands in backquotes.
func quoted(text string) (names []string) {
	for i, part := range strings.Split(text, "`") {
		if i%2 == 1 {
			names = append(names, part)
		}
	}
	return names
}

// elsewhere is modules of their own, with their tests: they import tollbridge as
// anybody may, or are copied.
var elsewhere = []string{"bench", "examples"}

// modules is whose modules the packages may import that connectors are made
// of: a connector brings no dependency. Packages not listed may import any.
var modules = map[string][]string{
	"normalize": {"github.com/go-json-experiment/json"},
	"verify":    {"github.com/go-json-experiment/json"},
	"schemas":   {},
}

// impure is what verify, normalize and schemas do without: the same request
// and the same payload give the same answer, today and replayed next year. A
// name of a package stands for all of it.
var impure = []string{
	"os", "os/*", "net", "log", "log/*", "math/rand", "math/rand/v2", "crypto/rand", "syscall",
	"time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.AfterFunc", "time.Tick", "time.NewTimer", "time.NewTicker",
	"fmt.Print", "fmt.Printf", "fmt.Println",
	"net/http.Client", "net/http.DefaultClient", "net/http.DefaultTransport", "net/http.Transport",
	"net/http.Get", "net/http.Head", "net/http.Post", "net/http.PostForm", "net/http.NewRequest", "net/http.NewRequestWithContext",
}

// fetches is the one file that may: it fetches public keys.
const fetches = "verify/keyring.go"

// file is a source file of ours.
type file struct {
	path, pkg string // from the root: verify/stripe.go, verify
	test      bool
	*ast.File
}

var fset = token.NewFileSet()

// files parses every file of ours. They are read here, and not by `go list`,
// so that go test knows what it would have to run again for.
func files(t *testing.T) (all []file) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := d.Name(); d.IsDir() && name != root && (base == "testdata" || base == "node_modules" || base[0] == '.' || base[0] == '_') {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		parsed, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		rel = filepath.ToSlash(rel)
		all = append(all, file{rel, path.Dir(rel), strings.HasSuffix(rel, "_test.go"), parsed})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// imports returns the paths of what f imports, and for each the name it has there.
func (f file) imports() map[string]string {
	names := map[string]string{}
	for _, spec := range f.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		names[imported] = path.Base(imported)
		if spec.Name != nil {
			names[imported] = spec.Name.Name
		}
	}
	return names
}

// TestLayers: arrows point down only. Tests may import every package.
func TestLayers(t *testing.T) {
	rows := layers(t)
	present := map[string]bool{}
	for _, f := range files(t) {
		present[f.pkg] = true
		if top, _, _ := strings.Cut(f.pkg, "/"); slices.Contains(elsewhere, top) {
			continue
		}
		allowed, listed := rows[f.pkg]
		if !listed && !f.test {
			t.Errorf("%s: the package %s is new: add it to the table of packages in README.md, with what it may import", f.path, f.pkg)
			continue
		}
		for imported := range f.imports() {
			pkg, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			ok := f.test || slices.Contains(allowed, pkg) || slices.Contains(allowed, all)
			switch {
			case (pkg == "internal/kafkatest" || pkg == "internal/fetchtest") && !f.test:
				t.Errorf("%s imports %s, which is for tests", f.path, pkg)
			case !ok:
				t.Errorf("%s imports %s, and may import %s of ours: see the table of packages in README.md", f.path, pkg, list(allowed))
			}
		}
	}
	for name := range rows {
		if !present[name] {
			t.Errorf("README.md has a row for the package %s, which is not there", name)
		}
	}
}

// TestModules: what connectors are made of has few dependencies, and a
// connector adds none.
func TestModules(t *testing.T) {
	for _, f := range files(t) {
		allowed, limited := modules[f.pkg]
		if !limited || f.test {
			continue
		}
		for imported := range f.imports() {
			host, _, _ := strings.Cut(imported, "/")
			standard := !strings.Contains(host, ".")
			within := func(m string) bool { return imported == m || strings.HasPrefix(imported, m+"/") }
			if !standard && !strings.HasPrefix(imported, module) && !slices.ContainsFunc(allowed, within) {
				t.Errorf("%s imports %s: beside the standard library, %s may import %s", f.path, imported, f.pkg, list(allowed))
			}
		}
	}
}

// TestPure: no clock, network, environment, randomness or output where the
// same input must always give the same result.
func TestPure(t *testing.T) {
	for _, f := range files(t) {
		if _, pure := modules[f.pkg]; !pure || f.test || f.path == fetches {
			continue
		}
		of := map[string]string{} // a package by its name in f
		for imported, name := range f.imports() {
			of[name] = imported
			if slices.ContainsFunc(impure, func(p string) bool { ok, _ := path.Match(p, imported); return ok }) {
				t.Errorf("%s imports %s: %s is pure, what it needs from outside is handed to it", f.path, imported, f.pkg)
			}
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a goroutine: %s is pure", position(n), f.pkg)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && slices.Contains(impure, of[x.Name]+"."+n.Sel.Name) {
					t.Errorf("%s: uses %s.%s: %s is pure, what it needs from outside is handed to it", position(n), of[x.Name], n.Sel.Name, f.pkg)
				}
			}
			return true
		})
	}
}

// connectorLiterals returns the literals of the type Connector in a file.
func connectorLiterals(f file) (all []ast.Node) {
	ast.Inspect(f.File, func(n ast.Node) bool {
		if literal, ok := n.(*ast.CompositeLit); ok {
			if name, ok := literal.Type.(*ast.Ident); ok && name.Name == "Connector" {
				all = append(all, literal)
			}
		}
		return true
	})
	return all
}

// TestConnectorsAreAlone keeps one connector's files from using another's. The
// connector adyen-platform has adyenplatform.go and, where that would be long,
// adyenplatform_*.go beside it. What these files declare begins with
// "adyenPlatform", and only they and the shared files use it. A file without a
// connector's name is shared, and holds no connector.
func TestConnectorsAreAlone(t *testing.T) {
	for pkg, connectors := range map[string][]string{"verify": verify.Connectors(), "normalize": normalize.Connectors(), "fetch": fetch.Connectors()} {
		prefixes := map[string]string{} // by the name of the connector's main file, without .go
		for _, c := range connectors {
			prefixes[pkg+"/"+strings.ReplaceAll(c, "-", "")] = camel(c)
		}
		var own []file
		present := map[string]bool{}      // main files
		owner := map[string]string{}      // the connector's main file, by identifier
		mainFile := func(f file) string { // stripe_disputes.go belongs to stripe.go
			name, _, _ := strings.Cut(strings.TrimSuffix(f.path, ".go"), "_")
			return name
		}
		for _, f := range files(t) {
			if f.pkg != pkg || f.test {
				continue
			}
			main := mainFile(f)
			prefix, ok := prefixes[main]
			if !ok { // the file is shared
				for _, literal := range connectorLiterals(f) {
					t.Errorf("%s: a connector without a line in the table of %s, or in a file that does not have its name", position(literal), pkg)
				}
				continue
			}
			present[main] = present[main] || f.path == main+".go"
			own = append(own, f)
			for _, id := range declared(f) {
				owner[id.Name] = main
				if rest, ok := strings.CutPrefix(id.Name, prefix); !ok || rest != "" && 'a' <= rest[0] && rest[0] <= 'z' {
					t.Errorf("%s: %s should be %s, or %s and a capital: another connector may want the name", position(id), id.Name, prefix, prefix)
				}
			}
		}
		for main := range prefixes {
			if !present[main] {
				t.Errorf("%s.go is missing: its connector is in the table of %s", main, pkg)
			}
		}
		for _, f := range own {
			for _, id := range used(f) {
				if theirs := owner[id.Name]; theirs != "" && theirs != mainFile(f) {
					t.Errorf("%s: uses %s of %s.go: what two connectors share belongs in a file that has no connector's name (a local variable: rename it)", position(id), id.Name, theirs)
				}
			}
		}
	}
}

// declared returns the names of what f declares outside of functions. A
// method's name is its type's affair.
func declared(f file) (ids []*ast.Ident) {
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				ids = append(ids, d.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					ids = append(ids, spec.Name)
				case *ast.ValueSpec:
					ids = append(ids, spec.Names...)
				}
			}
		}
	}
	return slices.DeleteFunc(ids, func(id *ast.Ident) bool { return id.Name == "_" })
}

// used returns every name in f that could be that of something declared
// outside of functions: not x in y.x, no field and no method.
func used(f file) (ids []*ast.Ident) {
	members := map[*ast.Ident]bool{}
	ast.Inspect(f.File, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			members[n.Sel] = true
		case *ast.StructType:
			for _, field := range n.Fields.List {
				for _, name := range field.Names {
					members[name] = true
				}
			}
		case *ast.FuncDecl:
			members[n.Name] = n.Recv != nil
		case *ast.Ident:
			if !members[n] {
				ids = append(ids, n)
			}
		}
		return true
	})
	return ids
}

// TestTablesAgree: what can be verified can be normalised and signed for, and
// the other way round.
func TestTablesAgree(t *testing.T) {
	verified, normalized := verify.Connectors(), normalize.Connectors()
	for _, c := range verified {
		if !slices.Contains(normalized, c) {
			t.Errorf("connector %q is in the table of verify and not in that of normalize", c)
		}
		if _, _, ok := sign.Dev(c); !ok {
			t.Errorf("connector %q is in the table of verify and not in that of internal/sign", c)
		}
	}
	for _, c := range fetch.Connectors() {
		if !slices.Contains(verified, c) {
			t.Errorf("connector %q is in the table of fetch and not in that of verify", c)
		}
	}
	for _, c := range normalized {
		if !slices.Contains(verified, c) {
			t.Errorf("connector %q is in the table of normalize and not in that of verify", c)
		}
	}
}

// camel is a connector's name as identifiers begin: adyen-platform is adyenPlatform.
func camel(connector string) string {
	words := strings.Split(connector, "-")
	for i, w := range words[1:] {
		words[i+1] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, "")
}

func list(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

// position is a place in a file, from the root.
func position(n ast.Node) string {
	return strings.TrimPrefix(fset.Position(n.Pos()).String(), root+"/")
}
