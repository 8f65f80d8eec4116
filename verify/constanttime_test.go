package verify

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestConstantTime checks that values derived from a secret are compared only by [hmac.Equal]
// and similar functions, which take the same time wherever the difference is.
func TestConstantTime(t *testing.T) {
	p := newSources(t)
	for _, found := range p.leaks(t, "") {
		t.Error(found)
	}
	for name, body := range map[string]string{
		"==":               `if r.Header.Get("X-Signature") == hex.EncodeToString(sum(sha256.New, []byte(secret), r.Body)) {`,
		"!=":               `want := string(digest(sha256.New, secret)); if !(string(r.Body) != want) {`,
		"bytes.Equal":      `want := sha256.Sum256([]byte(secret)); if bytes.Equal(r.Body, want[:]) {`,
		"a hash's Sum":     `m := hmac.New(sha256.New, nil); m.Write(r.Body); if bytes.Equal(r.Body, m.Sum(nil)) {`,
		"EqualFold":        `if strings.EqualFold(r.URL, fmt.Sprintf("%x", sum(sha256.New, []byte(secret), r.Body))) {`,
		"slices.Contains":  `if slices.Contains(strings.Split(r.URL, ","), string(sum(sha256.New, nil, r.Body))) {`,
		"switch":           `same := false; switch r.URL { case secret: same = true }; if same {`,
		"a map":            `if map[string]bool{r.URL: true}[string(sum(sha256.New, nil, r.Body))] {`,
		"byte by byte":     `same := true; for i, b := range sum(sha256.New, nil, r.Body) { same = same && b == r.Body[i] }; if same {`,
		"Secret.Value":     `if k.Secrets[0].Value == r.URL {`,
		"a helper":         `same := func(a, b string) bool { return a == b }; if same(r.URL, secret) {`,
		"another function": `if plantedSame(r.URL, secret) {`,
	} {
		found := p.leaks(t, `package verify
import ("bytes"; "crypto/hmac"; "crypto/sha256"; "encoding/hex"; "fmt"; "slices"; "strings"; "time")
var _, _, _, _, _, _, _ = bytes.Equal, hmac.New, sha256.New, hex.EncodeToString, fmt.Sprintf, slices.Max[[]int], strings.Cut
func plantedSame(one, other string) bool { return one == other }
func plantedVerify(r Request, secret string, k Keys, now time.Time) (Verified, error) {
`+body+` return Verified{Payload: r.Body}, nil }
return Verified{}, ErrMismatch }`)
		if len(found) == 0 || slices.ContainsFunc(found, func(f string) bool { return !strings.HasPrefix(f, "planted.go:") }) {
			t.Errorf("a connector that compares by %s: found %q, want it in planted.go", name, found)
		}
	}
}

// sources has the source code and the types of the package.
type sources struct {
	fset     *token.FileSet
	files    []*ast.File
	importer types.Importer
	info     *types.Info
	secret   map[types.Object]bool // variables with values that are derived from a secret
}

func newSources(t *testing.T) *sources {
	t.Helper()
	p := &sources{fset: token.NewFileSet()}
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(p.fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		p.files = append(p.files, f)
	}
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	compiled := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		compiled[path] = file
	}
	p.importer = importer.ForCompiler(p.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(compiled[path]) })
	return p
}

// leaks returns the comparisons whose time depends on a secret, in the package and in one more
// file, planted.
func (p *sources) leaks(t *testing.T, planted string) (found []string) {
	t.Helper()
	files := p.files
	if planted != "" {
		f, err := parser.ParseFile(p.fset, "planted.go", planted, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(slices.Clip(files), f)
	}
	p.secret = map[types.Object]bool{}
	p.info = &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	if _, err := (&types.Config{Importer: p.importer}).Check("verify", p.fset, files, p.info); err != nil {
		t.Fatal(err)
	}
	for known := -1; known < len(p.secret); { // until no more variables are found
		known = len(p.secret)
		for _, f := range files {
			ast.Inspect(f, p.spread)
		}
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if how := p.leak(n); how != "" {
				found = append(found, fmt.Sprintf("%s: %s compares a value derived from a secret: use hmac.Equal", p.fset.Position(n.Pos()), how))
			}
			return true
		})
	}
	return found
}

// spread marks the variables to which a statement assigns values derived from a secret.
func (p *sources) spread(n ast.Node) bool {
	mark := func(e ast.Expr, from ...ast.Expr) {
		id, ok := e.(*ast.Ident)
		if !ok || !slices.ContainsFunc(from, p.secretive) {
			return
		}
		if o := p.info.ObjectOf(id); o != nil && o.Name() != "_" && textual(o.Type()) {
			p.secret[o] = true
		}
	}
	switch n := n.(type) {
	case *ast.FuncType:
		for _, field := range n.Params.List {
			for _, name := range field.Names {
				if o := p.info.Defs[name]; slices.Contains([]string{"secret", "key", "password", "salt"}, name.Name) && o != nil && textual(o.Type()) {
					p.secret[o] = true
				}
			}
		}
	case *ast.AssignStmt:
		for _, left := range n.Lhs {
			mark(left, n.Rhs...)
		}
	case *ast.ValueSpec:
		for _, name := range n.Names {
			mark(name, n.Values...)
		}
	case *ast.RangeStmt:
		mark(n.Value, n.X)
	case *ast.CallExpr:
		if s, ok := p.info.TypeOf(n.Fun).(*types.Signature); ok {
			for i, arg := range n.Args {
				if at := min(i, s.Params().Len()-1); at >= 0 && textual(s.Params().At(at).Type()) && p.secretive(arg) {
					p.parameter(n.Fun, at)
				}
			}
		}
	}
	return true
}

// parameter marks a parameter of a function of the package, or of a function in a variable.
func (p *sources) parameter(f ast.Expr, at int) {
	if s, ok := p.info.TypeOf(f).(*types.Signature); ok {
		if o := s.Params().At(at); o.Pkg() != nil && o.Pkg().Path() == "verify" {
			p.secret[o] = true
		}
	}
}

// secretive reports whether an expression is derived from a secret: from a marked variable,
// from [Secret]'s Value, or by a hash.
func (p *sources) secretive(e ast.Expr) (is bool) {
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false // its statements are inspected separately
		case *ast.Ident:
			o := p.info.ObjectOf(n)
			is = is || p.secret[o]
			if v, ok := o.(*types.Var); ok && v.IsField() && v.Name() == "Value" && v.Pkg() != nil && v.Pkg().Path() == "verify" {
				is = true
			}
			if f, ok := o.(*types.Func); ok && f.Pkg() != nil {
				path := f.Pkg().Path()
				is = is || path == "verify" && (f.Name() == "sum" || f.Name() == "digest") ||
					(path == "hash" || strings.HasPrefix(path, "crypto/")) && strings.HasPrefix(f.Name(), "Sum")
			}
		}
		return !is
	})
	return is
}

// comparing has the functions whose time depends on where two texts differ.
var comparing = []string{"Equal", "EqualFold", "Compare", "HasPrefix", "HasSuffix", "Contains", "Index", "Count", "DeepEqual", "CutPrefix", "CutSuffix", "BinarySearch"}

// leak returns how a node compares a secret, or "" if it does not. A comparison with a constant
// is no leak: an attacker cannot choose it.
func (p *sources) leak(n ast.Node) string {
	constant := func(e ast.Expr) bool { return p.info.Types[e].Value != nil }
	secret := func(e ast.Expr) bool { return textual(p.info.TypeOf(e)) && p.secretive(e) }
	switch n := n.(type) {
	case *ast.BinaryExpr:
		compares := slices.Contains([]token.Token{token.EQL, token.NEQ, token.LSS, token.GTR, token.LEQ, token.GEQ}, n.Op)
		if compares && !constant(n.X) && !constant(n.Y) && (secret(n.X) || secret(n.Y)) {
			return n.Op.String()
		}
	case *ast.SwitchStmt:
		for _, c := range n.Body.List {
			for _, e := range c.(*ast.CaseClause).List {
				if n.Tag != nil && !constant(e) && (secret(n.Tag) || secret(e)) {
					return "a switch"
				}
			}
		}
	case *ast.IndexExpr:
		if _, ok := p.info.TypeOf(n.X).Underlying().(*types.Map); ok && secret(n.Index) {
			return "a map's key"
		}
	case *ast.CallExpr:
		called, ok := n.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains(comparing, called.Sel.Name) || slices.ContainsFunc(n.Args, constant) || !slices.ContainsFunc(n.Args, secret) {
			return ""
		}
		if f := p.info.Uses[called.Sel]; f.Pkg() != nil && slices.Contains([]string{"bytes", "strings", "slices", "reflect"}, f.Pkg().Path()) {
			return f.Pkg().Name() + "." + f.Name()
		}
	}
	return ""
}

// textual reports whether a type is text, a byte, a rune, or a slice or an array of these.
func textual(t types.Type) bool {
	if t == nil {
		return false
	}
	switch t := t.Underlying().(type) {
	case *types.Basic:
		return t.Info()&types.IsString != 0 || t.Kind() == types.Uint8 || t.Kind() == types.Int32
	case *types.Slice:
		return textual(t.Elem())
	case *types.Array:
		return textual(t.Elem())
	}
	return false
}
