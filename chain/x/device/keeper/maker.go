package keeper

import (
	"context"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/cairn-network/cairn/chain/x/device/types"
	core "github.com/cairn-network/cairn/core/types"
)

const (
	maxName = 64
	maxURL  = 256
)

// RegisterMaker adds somebody who makes devices. Anybody may; the fee keeps the list short.
func (s server) RegisterMaker(ctx context.Context, msg *types.MsgRegisterMaker) (*types.MsgRegisterMakerResponse, error) {
	account, err := s.addresses.StringToBytes(msg.Account)
	if err != nil {
		return nil, err
	}
	if err := text("name", msg.Name, 1, maxName); err != nil {
		return nil, err
	}
	if err := text("url", msg.Url, 0, maxURL); err != nil {
		return nil, err
	}
	p, err := s.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.fee(ctx, account, core.Credit(p.MakerFee)); err != nil {
		return nil, err
	}
	id, err := s.MakerID.Next(ctx)
	if err != nil {
		return nil, err
	}
	id++ // 0 stands for none
	m := types.Maker{Id: id, Account: msg.Account, Name: msg.Name, Url: msg.Url}
	return &types.MsgRegisterMakerResponse{Id: id}, s.Makers.Set(ctx, id, m)
}

// RegisterModel adds a kind of device.
func (s server) RegisterModel(ctx context.Context, msg *types.MsgRegisterModel) (*types.MsgRegisterModelResponse, error) {
	account, err := s.addresses.StringToBytes(msg.Account)
	if err != nil {
		return nil, err
	}
	maker, err := s.Makers.Get(ctx, msg.Maker)
	if err != nil {
		return nil, missing(err, core.UnknownModel, "maker %d", msg.Maker)
	}
	if maker.Account != msg.Account {
		return nil, core.Refuse(core.NotOwner, "maker %d is %s", msg.Maker, maker.Account)
	}
	if err := text("name", msg.Name, 1, maxName); err != nil {
		return nil, err
	}
	if !types.Ascending(msg.Categories) {
		return nil, core.Refuse(core.BadEncoding, "categories of a model: one to sixteen, ascending")
	}
	if msg.Digest != "" {
		if _, err := core.ParseHash(msg.Digest); err != nil {
			return nil, fmt.Errorf("digest: %w", err)
		}
	}
	p, err := s.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.fee(ctx, account, core.Credit(p.ModelFee)); err != nil {
		return nil, err
	}
	id, err := s.ModelID.Next(ctx)
	if err != nil {
		return nil, err
	}
	id++
	m := types.Model{Id: id, Maker: msg.Maker, Name: msg.Name, Categories: msg.Categories, Digest: msg.Digest}
	return &types.MsgRegisterModelResponse{Id: id}, s.Models.Set(ctx, id, m)
}

// text refuses what would spoil a page: other than printable UTF-8, or outside the bounds in bytes.
func text(field, s string, least, most int) error {
	if len(s) > most {
		return core.Refuse(core.Oversize, "%s has %d bytes, at most %d are allowed", field, len(s), most)
	}
	if len(s) < least || !utf8.ValidString(s) {
		return core.Refuse(core.BadEncoding, "%s is empty or not UTF-8", field)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return core.Refuse(core.BadEncoding, "%s holds a character that does not print", field)
		}
	}
	return nil
}
