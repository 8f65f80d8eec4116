package layers_test

import (
	"go/ast"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// notOurs are the packages whose JSON others define: the processors, and the formats of the
// schemas.
var notOurs = []string{"fetch", "normalize", "verify", "schemas", "examples", "bench", "internal/sign", "internal/fetchtest"}

// TestNames: one name means one thing in the JSON of --json, the admin listener and the
// console, and in the log. An endpoint has its connector beside it, since its name alone
// says nothing, and is not written as connector/name. Numbers by a name, and a list or a
// number, do not share a name.
func TestNames(t *testing.T) {
	maps, others := map[string][]string{}, map[string][]string{}
	structs, lines := 0, 0
	for _, f := range files(t) {
		if f.test || slices.ContainsFunc(notOurs, func(p string) bool { return f.pkg == p || strings.HasPrefix(f.pkg, p+"/") }) {
			continue
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.StructType:
				has := map[string]bool{}
				for _, field := range n.Fields.List {
					name := jsonName(field)
					if has[name] = true; name == "" {
						continue
					}
					of := others
					if m, ok := field.Type.(*ast.MapType); ok {
						if value, ok := m.Value.(*ast.Ident); !ok || value.Name != "int" {
							continue
						}
						of = maps
					}
					of[name] = append(of[name], fset.Position(field.Pos()).String())
				}
				if has["endpoint"] {
					if structs++; !has["connector"] {
						t.Errorf("%s: endpoint without connector in JSON", fset.Position(n.Pos()))
					}
				}
			case *ast.CallExpr:
				if logged(n) != "endpoint" {
					return true
				}
				lines++
				if with, ok := n.Fun.(*ast.SelectorExpr).X.(*ast.CallExpr); !ok || logged(with) != "connector" {
					t.Errorf("%s: log the connector before the endpoint", fset.Position(n.Pos()))
				}
				if value, ok := n.Args[1].(*ast.CallExpr); ok && strings.HasSuffix(called(value), ".ID") {
					t.Errorf("%s: log the endpoint's name, and not its ID", fset.Position(n.Pos()))
				}
			}
			return true
		})
	}
	for name, at := range maps {
		if len(others[name]) > 0 {
			t.Errorf("%s is numbers by a name in %s and something else in %s", name, at, others[name])
		}
	}
	if structs < 5 || lines < 3 {
		t.Errorf("%d types and %d log lines have an endpoint, want some: the test does not find them", structs, lines)
	}
}

// jsonName returns the name of a field in JSON; empty if it has no tag.
func jsonName(f *ast.Field) string {
	if f.Tag == nil {
		return ""
	}
	tag, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
	return name
}

// logged returns the name that a call of Str adds to a log line; empty for other calls.
func logged(c *ast.CallExpr) string {
	if !strings.HasSuffix(called(c), ".Str") || len(c.Args) != 2 {
		return ""
	}
	literal, ok := c.Args[0].(*ast.BasicLit)
	if !ok {
		return ""
	}
	name, _ := strconv.Unquote(literal.Value)
	return name
}

// called returns a dot and the name of the method or function that is called through a
// selector; empty for others.
func called(c *ast.CallExpr) string {
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	return "." + s.Sel.Name
}
