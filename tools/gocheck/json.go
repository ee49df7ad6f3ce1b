package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// object is a JSON object whose members are taken out by exact name. encoding/json alone would take
// repeated members and other spellings, and two readers could then disagree on what a document says.
type object map[string]any

const jsonDepthMax = 32

// parseJSON reads one JSON value strictly: no repeated members, nothing after it.
func parseJSON(text []byte) (any, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	value, err := parseValue(decoder, 0)
	if err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON value")
	}
	return value, nil
}

func parseValue(decoder *json.Decoder, depth int) (any, error) {
	if depth > jsonDepthMax {
		return nil, fmt.Errorf("nested deeper than %d", jsonDepthMax)
	}
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		members := object{}
		for decoder.More() {
			name, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			if _, repeated := members[name.(string)]; repeated {
				return nil, errors.New("a member is repeated")
			}
			if members[name.(string)], err = parseValue(decoder, depth+1); err != nil {
				return nil, err
			}
		}
		_, err := decoder.Token()
		return members, err
	case json.Delim('['):
		list := []any{}
		for decoder.More() {
			value, err := parseValue(decoder, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := decoder.Token()
		return list, err
	default:
		return token, nil
	}
}

// parseObject reads a JSON object strictly.
func parseObject(text []byte) (object, error) {
	value, err := parseJSON(text)
	if err != nil {
		return nil, err
	}
	members, isObject := value.(object)
	if !isObject {
		return nil, errors.New("not a JSON object")
	}
	return members, nil
}

// take removes a member and gives its value as a T.
func take[T any](o object, name string) (T, error) {
	value, isT := o[name].(T)
	if !isT {
		return value, fmt.Errorf("the member %q is missing or of another type", name)
	}
	delete(o, name)
	return value, nil
}

// takeNumber removes a member that is a number from 0 to 2^64-1.
func takeNumber(o object, name string) (uint64, error) {
	text, err := take[json.Number](o, name)
	if err != nil {
		return 0, err
	}
	number, err := strconv.ParseUint(text.String(), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the member %q is no natural number", name)
	}
	return number, nil
}

// end is an error if a member was not taken.
func (o object) end() error {
	if len(o) > 0 {
		return fmt.Errorf("%d members are unknown", len(o))
	}
	return nil
}
