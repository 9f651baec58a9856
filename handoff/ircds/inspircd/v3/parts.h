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


// What the module is made of: classes of InspIRCd 3 that ours are derived from, with the names of v4/parts.h.

#pragma once

namespace Handoff
{
	typedef ExtensionItem::ExtensibleType ItemType;
	const ItemType OfUser = ExtensionItem::EXT_USER, OfChannel = ExtensionItem::EXT_CHANNEL, OfMember = ExtensionItem::EXT_MEMBERSHIP;

	inline ItemType TypeOf(const ExtensionItem* item) { return item->type; }

	/** An extension item of ours. Its text is for a module's reload. */
	template <typename T>
	class Item : public SimpleExtItem<T>
	{
	 public:
		Item(Module* mod, const std::string& name, ItemType type) : SimpleExtItem<T>(name, type, mod) { }

		virtual std::string Text(const Extensible* container, T& value) const = 0;
		virtual void Read(Extensible* container, const std::string& text) = 0;
		virtual std::string Shown(const Extensible* container, T& value) const { return Text(container, value); }

		T* Get(const Extensible* container) const { return this->get(container); }
		void Set(Extensible* container, const T& value) { this->set(container, value); }
		void Unset(Extensible* container) { this->unset(container); }

		std::string ToInternal(const Extensible* container, void* item) const override { return Text(container, *static_cast<T*>(item)); }
		std::string ToHuman(const Extensible* container, void* item) const override { return Shown(container, *static_cast<T*>(item)); }
		void FromInternal(Extensible* container, const std::string& value) override { Read(container, value); }
	};

	/** Hears when a mode is taken off a channel. */
	class Watcher : public ModeWatcher
	{
	 public:
		Watcher(Module* mod, const std::string& mode) : ModeWatcher(mod, mode, MODETYPE_CHANNEL) { }

		virtual void TakenOff(Channel* chan, const std::string& param) = 0;

		void AfterMode(User*, User*, Channel* chan, const std::string& param, bool adding) override
		{
			if (!adding)
				TakenOff(chan, param);
		}
	};

	/** Ticks once a second. */
	class Ticker : public Timer
	{
	 public:
		Ticker() : Timer(1, true) { }

		virtual void OnTick() = 0;

		bool Tick(time_t) override
		{
			OnTick();
			return true;
		}
	};

	typedef int IOResult;

	/** Whom our TLS hooks name as their origin. No listener can be bound to it: it is no service that others can find. */
	class TLSProvider : public SSLIOHookProvider
	{
	 public:
		TLSProvider(Module* mod) : SSLIOHookProvider(mod, "handoff") { DisableAutoRegister(); }
		void OnAccept(StreamSocket*, irc::sockets::sockaddrs*, irc::sockets::sockaddrs*) override { }
		void OnConnect(StreamSocket*) override { }
	};

	typedef reference<TLSProvider> TLSProviderRef;

	inline TLSProviderRef NewTLSProvider(Module* mod) { return new TLSProvider(mod); }
	inline void SetFingerprint(ssl_cert& cert, const std::string& fingerprint) { cert.fingerprint = fingerprint; }

	/** The module as the ircd sees it: hooks that the majors call otherwise. */
	class ModuleBase : public Module
	{
		const std::string description;

	 public:
		ModuleBase(const std::string& Description) : description(Description) { }

		virtual ModResult Accept(int fd, ListenSocket* via, const irc::sockets::sockaddrs& client, const irc::sockets::sockaddrs& server) = 0;
		virtual ModResult BeforeJoin(LocalUser* user, Channel* chan, const std::string& name) = 0;
		virtual void AfterCommand(const std::string& name, const CommandBase::Params& params) = 0;
		virtual void LeaveUser(User* user) = 0; // at an unload
		virtual void End() = 0;

		Version GetVersion() override { return Version(description); }

		ModResult OnAcceptConnection(int fd, ListenSocket* via, irc::sockets::sockaddrs* client, irc::sockets::sockaddrs* server) override
		{
			return Accept(fd, via, *client, *server);
		}

		ModResult OnUserPreJoin(LocalUser* user, Channel* chan, const std::string& name, std::string&, const std::string&) override
		{
			return BeforeJoin(user, chan, name);
		}

		void OnPostCommand(Command* command, const CommandBase::Params& params, LocalUser*, CmdResult result, bool) override
		{
			if (result == CMD_SUCCESS)
				AfterCommand(command->name, params);
		}

		void OnCleanup(ExtensionItem::ExtensibleType type, Extensible* item) override
		{
			if (type == ExtensionItem::EXT_USER)
				LeaveUser(static_cast<User*>(item));
		}

		CullResult cull() override
		{
			End();
			return Module::cull();
		}
	};

	/** The tag <handoff> of the configuration. */
	inline ConfigTag* Tag() { return ServerInstance->Config->ConfValue("handoff"); }
	inline unsigned long TagNumber(const char* key, unsigned long otherwise) { return Tag()->getUInt(key, otherwise, 1); }
}
