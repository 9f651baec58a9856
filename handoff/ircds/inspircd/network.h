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


// The network as this process knows it: which servers are linked, who is behind which link.

#pragma once

namespace Handoff
{
	/** A server of the network, other than this one. */
	struct ServerFacts
	{
		std::string name, parent, desc;
		std::string link;      // the name of the directly linked server that it is behind: its own, or another
		const Server* server;  // nullptr: it linked before this module was loaded, and has no user
		bool hidden;           // from all but operators; told by Hidden only
		bool Direct() const { return name == link; }
	};

	/** Hears who links and splits. The core tells names only; ids are told by this, or by users. */
	class Network : public ServerProtocol::LinkEventListener
	{
		std::map<std::string, const Server*> known;
		std::set<std::string> bursting;
		std::set<std::string>* listed; // not nullptr: LINKS is being asked

	 public:
		Network(Module* mod) : ServerProtocol::LinkEventListener(mod), listed(nullptr) { }

		void OnServerLink(const Server* server) override
		{
			known[server->GetName()] = server;
			bursting.insert(server->GetName());
		}

		void OnServerBurst(const Server* server) override { bursting.erase(server->GetName()); }

		void OnServerSplit(const Server* server, bool) override
		{
			known.erase(server->GetName());
			bursting.erase(server->GetName());
		}

		/** Whether the burst of a directly linked server is not at its end. */
		bool IsBursting(const std::string& name) const { return bursting.count(name); }

		/** All servers, parents first. */
		std::vector<ServerFacts> Servers()
		{
			ProtocolInterface::ServerList list;
			ServerInstance->PI->GetServerList(list);
			std::multimap<std::string, const ProtocolInterface::ServerInfo*> children;
			bool missing = false;
			for (const ProtocolInterface::ServerInfo& s : list)
			{
				if (s.servername == OwnName())
					continue;
				children.insert(std::make_pair(s.parentname, &s));
				missing = missing || !known.count(s.servername);
			}
			if (missing)
				LearnFromUsers();
			std::vector<ServerFacts> servers;
			AddChildren(children, OwnName(), "", servers);
			return servers;
		}

		/** Finds out which servers are hidden. Nobody but m_spanningtree knows, and tells by LINKS only: a user asks who is no operator for the time
		 * being. Those behind a hidden one are not listed either; nobody can tell whether they are hidden too. */
		void FindHidden(std::vector<ServerFacts>& servers)
		{
			Module* const tree = ServerInstance->Modules.Find("m_spanningtree.so");
			LocalUser* asking = nullptr;
			for (LocalUser* const user : ServerInstance->Users.GetLocalUsers())
				if (IsRegistered(user) && !user->quitting)
					asking = user;
			if (!tree || !asking || servers.empty())
				return;
			std::set<std::string> names;
			std::string command("LINKS");
			CommandBase::Params none;
			OperRef oper;
			std::swap(oper, asking->oper);
			listed = &names;
			tree->OnPreCommand(command, none, asking, true);
			listed = nullptr;
			std::swap(oper, asking->oper);
			for (ServerFacts& s : servers)
				s.hidden = !names.count(s.name) && (s.Direct() || names.count(s.parent));
		}

		/** Takes a numeric that answers LINKS, if it is asked. */
		bool Takes(const Numeric::Numeric& numeric)
		{
			if (listed && numeric.GetNumeric() == 364)
				listed->insert(numeric.GetParams()[0]);
			return listed;
		}

		/** Whether a server of the name or the id is in the network. */
		bool Has(const std::string& name, const std::string& sid)
		{
			for (const ServerFacts& s : Servers())
				if (!strcasecmp(s.name.c_str(), name.c_str()) || (s.server && s.server->GetId() == sid))
					return true;
			return sid == ServerID();
		}

		/** The directly linked server of the name and the id, or nullptr. Without knowledge of its id the name counts. */
		static const ServerFacts* Direct(const std::vector<ServerFacts>& servers, const std::string& name, const std::string& sid)
		{
			for (const ServerFacts& s : servers)
				if (s.Direct() && s.name == name && (!s.server || s.server->GetId() == sid))
					return &s;
			return nullptr;
		}

	 private:
		typedef std::multimap<std::string, const ProtocolInterface::ServerInfo*> Children;

		void AddChildren(const Children& children, const std::string& parent, const std::string& link, std::vector<ServerFacts>& servers) const
		{
			const auto [begin, end] = children.equal_range(parent);
			for (Children::const_iterator c = begin; c != end; ++c)
			{
				const std::string& name = c->second->servername;
				const auto server = known.find(name);
				servers.push_back({ name, parent, c->second->description, link.empty() ? name : link, server == known.end() ? nullptr : server->second, false });
				AddChildren(children, name, link.empty() ? name : link, servers);
			}
		}

		/** For servers that linked before this module was loaded. */
		void LearnFromUsers()
		{
			for (const auto& entry : ServerInstance->Users.GetUsers())
				if (!IS_LOCAL(entry.second))
					known[entry.second->server->GetName()] = entry.second->server;
		}
	};

	/** How many have an id in place of their nick: they have lost it to somebody else. */
	inline size_t Saved(const std::vector<User*>& users)
	{
		return std::count_if(users.begin(), users.end(), [](const User* user) { return user->nick == user->uuid; });
	}

	/** Who is behind which of some links. Good as long as the network does not change. */
	class Behind
	{
		std::unordered_map<const Server*, size_t> links;

	 public:
		static constexpr size_t None = static_cast<size_t>(-1);

		/** names: of directly linked servers; their places there are what Of answers. */
		Behind(const std::vector<ServerFacts>& servers, const std::vector<std::string>& names)
		{
			for (const ServerFacts& s : servers)
			{
				const size_t at = std::find(names.begin(), names.end(), s.link) - names.begin();
				if (s.server && at < names.size())
					links[s.server] = at;
			}
		}

		size_t Of(const User* user) const
		{
			const auto found = links.find(user->server);
			return found == links.end() ? None : found->second;
		}
	};

	/** Why what is behind a link is not here as its LINK record says; empty: it is. */
	inline std::string LinkFault(Network& network, const Line& r)
	{
		static const std::string saved = OwnKey + "saved";
		const std::string& name = r.Get("n");
		const std::vector<ServerFacts> servers = network.Servers();
		if (!Network::Direct(servers, name, r.Get("sid")))
			return "no server of that name and id is linked directly";
		if (network.IsBursting(name))
			return "its burst is not at its end";
		const Behind behind(servers, std::vector<std::string>(1, name));
		std::vector<User*> users;
		for (const auto& entry : ServerInstance->Users.GetUsers())
			if (behind.Of(entry.second) != Behind::None)
				users.push_back(entry.second);
		if (users.size() != r.Num("users"))
			return ConvToStr(users.size()) + " users are behind it, and " + r.Get("users") + " were";
		return r.Has(saved) && Saved(users) > r.Num(saved) ? "users behind it have lost their nicks to others" : "";
	}
}
