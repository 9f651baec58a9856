package config

import (
	"encoding"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// decoder goes through the syntax tree and the types side by side. The library's own decoding stops at the first error, does not
// know the key's path, and starts list elements from zero instead of from their defaults; so only its parser is used.
// The types bound how deep it goes.
type decoder struct {
	file    string
	anchors map[string]ast.Node
	errs    Errors
}

// defaulter is implemented by what does not begin as its zero value.
type defaulter interface{ setDefaults() }

func (d *decoder) fail(n ast.Node, path, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if path != "" {
		text = path + ": " + text
	}
	e := &Error{File: d.file, Line: 1, Col: 1, Text: text}
	if t := n.GetToken(); t != nil && t.Position != nil {
		e.Line, e.Col = t.Position.Line, t.Position.Column
	}
	d.errs = append(d.errs, e)
}

func (d *decoder) root(n ast.Node, c *Config) {
	d.value(n, reflect.ValueOf(c).Elem(), "", "")
}

// value decodes n into v. path is the key in words, oneof the words that a string, or each of a list of them, may be ("" for any).
func (d *decoder) value(n ast.Node, v reflect.Value, path, oneof string) {
	n, ok := d.resolve(n, path)
	if !ok {
		return
	}
	if n.Type() == ast.NullType {
		d.fail(n, path, "has no value; leave the key out for its default")
		return
	}
	if _, isText := v.Addr().Interface().(encoding.TextUnmarshaler); isText {
		d.text(n, v, path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setDefaults(v.Elem())
		d.value(n, v.Elem(), path, "")
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Map:
		d.dict(n, v, path)
	case reflect.Slice:
		d.list(n, v, path, oneof)
	default:
		d.scalar(n, v, path, oneof)
	}
}

// resolve follows anchors and aliases. An anchor is known after its node, so an alias can never lead into itself.
func (d *decoder) resolve(n ast.Node, path string) (ast.Node, bool) {
	switch x := n.(type) {
	case nil:
		return nil, false
	case *ast.AnchorNode:
		if x.Value == nil {
			d.fail(n, path, "has no value; leave the key out for its default")
			return nil, false
		}
		inner, ok := d.resolve(x.Value, path)
		if ok && x.Name != nil {
			d.anchors[x.Name.String()] = inner
		}
		return inner, ok
	case *ast.AliasNode:
		name := ""
		if x.Value != nil {
			name = x.Value.String()
		}
		inner, ok := d.anchors[name]
		if !ok {
			d.fail(n, path, "alias *%s: no such anchor stands before it", name)
		}
		return inner, ok
	case *ast.TagNode:
		d.fail(n, path, "tags are not understood; write the plain value")
		return nil, false
	}
	return n, true
}

// pairs lists the entries of a mapping and refuses merge keys and keys that stand twice.
func (d *decoder) pairs(n ast.Node, path string) []*ast.MappingValueNode {
	var values []*ast.MappingValueNode
	switch x := n.(type) {
	case *ast.MappingNode:
		values = x.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{x}
	default:
		d.fail(n, path, "%s where keys with values belong", describe(n))
		return nil
	}
	seen := map[string]bool{}
	good := values[:0:0]
	for _, p := range values {
		key := keyText(p.Key)
		switch {
		case p.Key.IsMergeKey():
			d.fail(p.Key, path, "merge keys are not understood; write the keys themselves")
		case seen[key]:
			d.fail(p.Key, path, "key %q stands twice", key)
		default:
			good = append(good, p)
		}
		seen[key] = true
	}
	return good
}

func (d *decoder) structure(n ast.Node, v reflect.Value, path string) {
	fields := fieldsOf(v.Type())
	for _, p := range d.pairs(n, path) {
		key := keyText(p.Key)
		i, ok := fields.index[key]
		if !ok {
			d.fail(p.Key, path, "unknown key %q%s", key, didYouMean(key, fields.names))
			continue
		}
		d.value(p.Value, v.Field(i), join(path, key), v.Type().Field(i).Tag.Get("oneof"))
	}
}

func (d *decoder) dict(n ast.Node, v reflect.Value, path string) {
	v.Set(reflect.MakeMap(v.Type()))
	for _, p := range d.pairs(n, path) {
		key := keyText(p.Key)
		elem := reflect.New(v.Type().Elem()).Elem()
		setDefaults(elem)
		d.value(p.Value, elem, join(path, key), "")
		v.SetMapIndex(reflect.ValueOf(key), elem)
	}
}

func (d *decoder) list(n ast.Node, v reflect.Value, path, oneof string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.fail(n, path, "%s where a list belongs; write [...] or lines that begin with '-'", describe(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
	for i, x := range seq.Values {
		setDefaults(v.Index(i))
		d.value(x, v.Index(i), path+"["+strconv.Itoa(i)+"]", oneof)
	}
}

// text decodes what reads itself from one word: durations, rates, networks.
func (d *decoder) text(n ast.Node, v reflect.Value, path string) {
	s, ok := scalarText(n)
	if !ok {
		d.fail(n, path, "%s where one value belongs", describe(n))
		return
	}
	var err error
	switch x := v.Addr().Interface().(type) {
	case *netip.Prefix:
		*x, err = parsePrefix(s)
	case encoding.TextUnmarshaler:
		err = x.UnmarshalText([]byte(s))
	}
	if err != nil {
		d.fail(n, path, "%v", err)
	}
}

func (d *decoder) scalar(n ast.Node, v reflect.Value, path, oneof string) {
	s, ok := scalarText(n)
	if !ok {
		d.fail(n, path, "%s where one value belongs", describe(n))
		return
	}
	switch v.Kind() {
	case reflect.Int:
		i, err := strconv.Atoi(s)
		if err != nil || n.Type() != ast.IntegerType {
			d.fail(n, path, "%q is not a whole number", s)
			return
		}
		v.SetInt(int64(i))
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			d.fail(n, path, "%q is not true or false", s)
			return
		}
		v.SetBool(b.Value)
	case reflect.String:
		if words := strings.Fields(oneof); oneof != "" && !contains(words, s) {
			d.fail(n, path, "%q is not one of %s%s", s, strings.Join(words, ", "), didYouMean(s, words))
			return
		}
		v.SetString(s)
	}
}

// scalarText is the text of a scalar as it stands in the file, without quotes.
func scalarText(n ast.Node) (string, bool) {
	switch x := n.(type) {
	case *ast.StringNode:
		return x.Value, true
	case *ast.LiteralNode:
		if x.Value == nil {
			return "", true
		}
		return x.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return x.GetToken().Value, true
	}
	return "", false
}

func keyText(k ast.MapKeyNode) string {
	if s, ok := scalarText(k); ok {
		return s
	}
	return k.String()
}

func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys with values"
	case *ast.SequenceNode:
		return "a list"
	}
	if s, ok := scalarText(n); ok {
		return strconv.Quote(s)
	}
	return "something else"
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func setDefaults(v reflect.Value) {
	if x, ok := v.Addr().Interface().(defaulter); ok {
		x.setDefaults()
	}
}

type fieldSet struct {
	names []string
	index map[string]int
}

func fieldsOf(t reflect.Type) fieldSet {
	f := fieldSet{index: map[string]int{}}
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("yaml")
		f.names = append(f.names, name)
		f.index[name] = i
	}
	return f
}
