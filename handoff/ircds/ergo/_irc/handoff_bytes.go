// SPDX-License-Identifier: MIT

package irc

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

// IRC is bytes, and JSON is UTF-8: encoding/json puts U+FFFD in the place of a byte that is none. A value with such bytes is written with
// each byte of its strings as the character of that number, and with handoffRaw in front.
const handoffRaw = "raw:"

// handoffMarshal is the JSON of a value of strings, numbers and times, in structs, maps and slices; all of these can be written.
func handoffMarshal(value any) string {
	text, _ := json.Marshal(value)
	if !bytes.Contains(text, []byte(`\ufffd`)) { // as it writes a byte that is no character
		return string(text)
	}
	text, _ = json.Marshal(mapStrings(reflect.ValueOf(value), wide).Interface())
	return handoffRaw + string(text)
}

// handoffUnmarshal is the other end; value is a pointer.
func handoffUnmarshal(text string, value any) error {
	text, raw := strings.CutPrefix(text, handoffRaw)
	if err := json.Unmarshal([]byte(text), value); err != nil || !raw {
		return err
	}
	v := reflect.ValueOf(value).Elem()
	v.Set(mapStrings(v, narrow))
	return nil
}

// wide makes a character of each byte, narrow a byte of each character.
func wide(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

func narrow(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = append(b, byte(r))
	}
	return string(b)
}

// oneLine reports whether no string in what a pointer points to would break a client's line.
func oneLine(value any) bool {
	good := true
	mapStrings(reflect.ValueOf(value).Elem(), func(s string) string {
		good = good && !strings.ContainsAny(s, "\x00\r\n")
		return s
	})
	return good
}

// mapStrings answers a copy of a value with all strings in it changed.
func mapStrings(v reflect.Value, f func(string) string) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.String:
		out.SetString(f(v.String()))
	case reflect.Struct:
		out.Set(v)
		if v.Type() == reflect.TypeFor[time.Time]() {
			break
		}
		for i := range v.NumField() {
			out.Field(i).Set(mapStrings(v.Field(i), f))
		}
	case reflect.Map:
		if v.IsNil() {
			break
		}
		out.Set(reflect.MakeMap(v.Type()))
		for it := v.MapRange(); it.Next(); {
			out.SetMapIndex(mapStrings(it.Key(), f), mapStrings(it.Value(), f))
		}
	case reflect.Slice:
		for i := range v.Len() {
			out.Set(reflect.Append(out, mapStrings(v.Index(i), f)))
		}
	case reflect.Array:
		for i := range v.Len() {
			out.Index(i).Set(mapStrings(v.Index(i), f))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(mapStrings(v.Elem(), f))
		}
	default:
		out.Set(v)
	}
	return out
}
