package tally

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/types"
)

// Rules are the rules of a tally: the version, and the categories that it knows.
type Rules struct {
	Version    uint32
	categories []category // ascending
}

// category is a Verifier with its number.
type category struct {
	id types.Category
	Verifier
}

// NewRules returns the rules of a version over categories, in any order. Two of one number are an error.
func NewRules(version uint32, verifiers ...Verifier) (*Rules, error) {
	r := &Rules{Version: version}
	for _, v := range verifiers {
		if v.Spec == nil || v.Verify == nil {
			return nil, errors.New("tally: rules: a category without Spec or Verify")
		}
		r.categories = append(r.categories, category{v.Spec.Category, v})
	}
	slices.SortFunc(r.categories, func(a, b category) int { return cmp.Compare(a.id, b.id) })
	if len(r.categories) > maxCategories {
		return nil, fmt.Errorf("tally: rules: %d categories, at most %d are told apart", len(r.categories), maxCategories)
	}
	for i, c := range r.categories {
		if c.id == 0 || i > 0 && c.id == r.categories[i-1].id {
			return nil, fmt.Errorf("tally: rules: category %d (%s) twice, or without a number", c.id, c.Spec.Name)
		}
		if err := c.Spec.checkDraws(); err != nil {
			return nil, fmt.Errorf("tally: rules: category %d (%s): %w", c.id, c.Spec.Name, err)
		}
	}
	return r, nil
}

// find returns the place of a category, or −1.
func (r *Rules) find(id types.Category) int {
	for i := range r.categories {
		if r.categories[i].id == id {
			return i
		}
	}
	return -1
}

// class returns a class of the category, or nil.
func (c *category) class(id types.Class) *Class {
	for i := range c.Spec.Classes {
		if c.Spec.Classes[i].Class == id {
			return &c.Spec.Classes[i]
		}
	}
	return nil
}
