/*
 * m_handoff: HANDOFF/1 for InspIRCd, so that a proxy can move live users between two processes.
 *
 *   Copyright (C) 2026 The ircferry authors
 *
 * This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public
 * License as published by the Free Software Foundation, version 2.
 *
 * This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; without even the implied
 * warranty of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU General Public License for more details.
 *
 * You should have received a copy of the GNU General Public License along with this program; the file COPYING beside
 * this one says where it is if not.
 */


// What the module is made of: classes of InspIRCd 4 that ours are derived from, with the names of v3/parts.h.

#pragma once

#include "extension.h"

namespace Handoff
{
	typedef ExtensionType ItemType;
	const ItemType OfUser = ExtensionType::USER, OfChannel = ExtensionType::CHANNEL, OfMember = ExtensionType::MEMBERSHIP;

	inline ItemType TypeOf(const ExtensionItem* item) { return item->extype; }

	/** Whom a text is for that comes back after a reload: InspIRCd 4.7 gives those of all items of a module to the first of them. There is one
	 * of ours for each type, so that the type of what it is for tells. */
	class Reader
	{
	 protected:
		inline static std::map<ItemType, Reader*> all;

	 public:
		virtual void Read(Extensible* container, const std::string& text) = 0;
	};

	/** An extension item of ours. Its text is for a module's reload. */
	template <typename T>
	class Item : public SimpleExtItem<T>, protected Reader
	{
	 public:
		Item(Module* mod, const std::string& name, ItemType type) : SimpleExtItem<T>(mod, name, type) { all[type] = this; }
		~Item() { all.erase(this->extype); }

		virtual std::string Text(const Extensible* container, T& value) const = 0;
		virtual std::string Shown(const Extensible* container, T& value) const { return Text(container, value); }

		std::string ToInternal(const Extensible* container, void* item) const noexcept override { return Text(container, *static_cast<T*>(item)); }
		std::string ToHuman(const Extensible* container, void* item) const noexcept override { return Shown(container, *static_cast<T*>(item)); }
		void FromInternal(Extensible* container, const std::string& value) noexcept override
		{
			const auto reader = all.find(container->extype);
			if (reader != all.end())
				reader->second->Read(container, value);
		}
	};

	/** Hears when a mode is taken off a channel. */
	class Watcher : public ModeWatcher
	{
	 public:
		Watcher(Module* mod, const std::string& mode) : ModeWatcher(mod, mode, MODETYPE_CHANNEL) { }

		virtual void TakenOff(Channel* chan, const std::string& param) = 0;

		void AfterMode(User*, User*, Channel* chan, const Modes::Change& change) override
		{
			if (!change.adding)
				TakenOff(chan, change.param);
		}
	};

	/** Ticks once a second. */
	class Ticker : public Timer
	{
	 public:
		Ticker() : Timer(1, true) { }

		virtual void OnTick() = 0;

		bool Tick() override
		{
			OnTick();
			return true;
		}
	};

	typedef ssize_t IOResult;

	/** Whom our TLS hooks name as their origin. No listener can be bound to it: it is no service that others can find. */
	class TLSProvider : public SSLIOHookProvider
	{
	 public:
		TLSProvider(Module* mod) : SSLIOHookProvider(mod, "handoff") { DisableAutoRegister(); }
		void OnAccept(StreamSocket*, const irc::sockets::sockaddrs&, const irc::sockets::sockaddrs&) override { }
		void OnConnect(StreamSocket*) override { }
	};

	typedef std::shared_ptr<IOHookProvider> TLSProviderRef;

	inline TLSProviderRef NewTLSProvider(Module* mod) { return std::make_shared<TLSProvider>(mod); }
	inline void SetFingerprint(ssl_cert& cert, const std::string& fingerprint)
	{
		if (!fingerprint.empty())
			cert.fingerprints.push_back(fingerprint);
	}

	/** The module as the ircd sees it: hooks that the majors call otherwise. */
	class ModuleBase : public Module
	{
	 public:
		ModuleBase(const std::string& Description) : Module(VF_NONE, Description) { }

		virtual ModResult Accept(int fd, ListenSocket* via, const irc::sockets::sockaddrs& client, const irc::sockets::sockaddrs& server) = 0;
		virtual ModResult BeforeJoin(LocalUser* user, Channel* chan, const std::string& name) = 0;
		virtual void AfterCommand(const std::string& name, const CommandBase::Params& params) = 0;
		virtual void LeaveUser(User* user) = 0; // at an unload
		virtual void End() = 0;

		ModResult OnAcceptConnection(int fd, ListenSocket* via, const irc::sockets::sockaddrs& client, const irc::sockets::sockaddrs& server) override
		{
			return Accept(fd, via, client, server);
		}

		ModResult OnUserPreJoin(LocalUser* user, Channel* chan, const std::string& name, std::string&, const std::string&, bool) override
		{
			return BeforeJoin(user, chan, name);
		}

		void OnPostCommand(Command* command, const CommandBase::Params& params, LocalUser*, CmdResult result, bool) override
		{
			if (result == CmdResult::SUCCESS)
				AfterCommand(command->name, params);
		}

		void OnCleanup(ExtensionType type, Extensible* item) override
		{
			if (type == ExtensionType::USER)
				LeaveUser(static_cast<User*>(item));
		}

		Cullable::Result Cull() override
		{
			End();
			return Module::Cull();
		}
	};

	/** The tag <handoff> of the configuration. */
	inline const ConfigTag* Tag() { return ServerInstance->Config->ConfValue("handoff").get(); }
	inline unsigned long TagNumber(const char* key, unsigned long otherwise) { return Tag()->getNum<unsigned long>(key, otherwise, 1); }
}
